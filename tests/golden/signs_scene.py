"""A small ptychography scan whose every axis, sign and order shows: the truth of the sign tests.

Conventions of the truth: frames are photon counts, (rows, columns), zero frequency in the centre;
positions are the (row, column) of a patch's first pixel in the object; the exit wave is
probe * patch and its far field abs(fftshift(fft2(.)))^2.
"""
import numpy as np

SIZE = 64  # px, frames are SIZE x SIZE
SCAN = (5, 7)  # rows, columns of the raster
STEP = (9, 6)  # px between rows, columns
MARGIN = (3, 5)  # px before the first patch
ENERGY_EV = 8000.0
DISTANCE_M = 2.0
DETECTOR_PIXEL_M = 75e-6
PLANCK_J_S, LIGHT_M_S, CHARGE_C = 6.62607015e-34, 299792458.0, 1.602176634e-19
WAVELENGTH_M = PLANCK_J_S * LIGHT_M_S / (ENERGY_EV * CHARGE_C)
OBJECT_PIXEL_M = WAVELENGTH_M * DISTANCE_M / (SIZE * DETECTOR_PIXEL_M)
COUNTS = 2e6  # photons of a frame without an object

LETTER_F = ["#####", "#....", "#....", "####.", "#....", "#....", "#...."]
LETTER_R = ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"]


def letter(pattern, scale):
    """1 where the letter is, enlarged `scale` times."""
    return np.kron(np.array([[c == "#" for c in line] for line in pattern], float), np.ones((scale, scale)))


def smooth(image, sigma):
    """Gaussian blur by Fourier transform."""
    fr = np.fft.fftfreq(image.shape[0])[:, None]
    fc = np.fft.fftfreq(image.shape[1])[None, :]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2 * (np.pi * sigma) ** 2 * (fr**2 + fc**2))).real


def make_object():
    """An F in amplitude and an R in phase, at different places; no symmetry, no ramp."""
    shape = (2 * MARGIN[0] + SIZE + STEP[0] * (SCAN[0] - 1) + 4, 2 * MARGIN[1] + SIZE + STEP[1] * (SCAN[1] - 1) + 6)
    absorbing, shifting = np.zeros(shape), np.zeros(shape)
    f, r = letter(LETTER_F, 6), letter(LETTER_R, 5)
    absorbing[28 : 28 + f.shape[0], 30 : 30 + f.shape[1]] = f
    shifting[44 : 44 + r.shape[0], 56 : 56 + r.shape[1]] = r
    return (1 - 0.5 * smooth(absorbing, 0.8)) * np.exp(1j * smooth(shifting, 0.8))


def make_probe():
    """A compact curved beam with a tail to one side, centred in its array."""
    r, c = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    wave = np.exp(-(r**2 + 1.6 * c**2) / 90.0) * np.exp(0.035j * (r**2 + c**2))
    wave += 0.35 * np.exp(-((r - 8) ** 2 + (c + 5) ** 2) / 30.0)
    return (wave * np.sqrt(COUNTS / np.sum(abs(wave) ** 2)) / SIZE).astype(np.complex64)


def make_positions():
    """A raster of unequal steps with whole-pixel offsets that no reversal maps onto themselves."""
    positions = []
    for i in range(SCAN[0]):
        for j in range(SCAN[1]):
            positions.append((MARGIN[0] + STEP[0] * i + (i * j) % 3, MARGIN[1] + STEP[1] * j + (2 * i + j * j) % 4))
    return np.array(positions, float)


def simulate():
    """All of the scan, as a dictionary."""
    obj, probe, positions = make_object(), make_probe(), make_positions()
    frames = []
    for row, column in positions.astype(int):
        exit_wave = probe.astype(complex) * obj[row : row + SIZE, column : column + SIZE]
        frames.append(np.round(abs(np.fft.fftshift(np.fft.fft2(exit_wave))) ** 2))
    mask = np.ones((SIZE, SIZE), np.uint8)
    mask[5, 60] = mask[6, 60] = mask[40, 2] = 0
    return {"object": obj.astype(np.complex64), "probe": probe, "positions": positions,
            "frames": np.array(frames).astype(np.uint32), "mask": mask}

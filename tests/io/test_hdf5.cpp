#include <sys/resource.h>

#include <complex>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <thread>

#include "io/hdf5.h"
#include "tests/support.h"

namespace ptynet::io {

namespace {

using Catch::Matchers::Contains;
using tests::TemporaryFolder;

std::size_t files_in(const std::filesystem::path& folder) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) n += entry.exists();
  return n;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Lets no file of this process grow over `bytes`: what a full disk does to a writer.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("HDF5: what is written is read back", "[hdf5]") {
  const TemporaryFolder folder;
  const Array numbers = Array::copy_of<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  const Array counts = Array::copy_of<std::uint16_t>({0, 1, 65535}, {3});
  const Array probe = Array::copy_of<std::complex<float>>({{1, -2}, {3, 4}}, {1, 2});
  {
    Hdf5Writer writer(folder / "a.h5");
    writer.write("/group/numbers", numbers);
    writer.write("counts", counts);
    writer.write("probe", probe);
    writer.write("index", std::vector<std::int64_t>{7, -8});
    writer.write("text", std::string("phase of \xCF\x86"));
    writer.group("/process");
    writer.attribute("/process", "program", "ptynet");
    writer.attribute("/process", "seconds", 1.5);
    writer.attribute("/process", "frames", 25);
    writer.attribute("/probe", "pixel_size_m", std::vector<double>{1e-8, 2e-8});
    writer.attribute("/", "long", std::string(100000, 'x'));
    REQUIRE(!std::filesystem::exists(folder / "a.h5"));
    writer.commit();
  }
  REQUIRE(files_in(folder.path()) == 1);
  REQUIRE(std::filesystem::file_size(folder / "a.h5") < 300000);
  REQUIRE(Hdf5Reader::is_hdf5(folder / "a.h5"));

  const Hdf5Reader reader(folder / "a.h5");
  const Array back = reader.read("/group/numbers", DType::kF32);
  REQUIRE(back.shape() == Shape{3, 2});
  REQUIRE(back.data<float>()[5] == 6);
  const Hdf5Dataset stored = reader.dataset("counts");
  REQUIRE(to_string(stored.type()) == "u16");
  REQUIRE(stored.read(DType::kU8).data<std::uint8_t>()[2] == 255);  // the nearest that fits
  REQUIRE(reader.read("probe", DType::kC64).data<std::complex<float>>()[0] ==
          std::complex<float>(1, -2));
  REQUIRE(reader.dataset("index").read_integers() == std::vector<std::int64_t>{7, -8});
  REQUIRE(reader.string("text") == "phase of \xCF\x86");
  REQUIRE(reader.string_attribute("/process", "program") == "ptynet");
  REQUIRE(reader.number_attribute("/process", "seconds") == 1.5);
  REQUIRE(reader.number_attribute("/process", "frames") == 25.0);
  REQUIRE(reader.numbers_attribute("/probe", "pixel_size_m") == std::vector<double>{1e-8, 2e-8});
  REQUIRE(reader.string_attribute("/", "long")->size() == 100000);
  REQUIRE(!reader.string_attribute("/", "absent"));
  REQUIRE(!reader.string_attribute("/absent", "absent"));
  REQUIRE(reader.list("/") ==
          std::vector<std::string>{"counts", "group", "index", "probe", "process", "text"});
  REQUIRE(reader.exists("group/numbers"));
  REQUIRE(!reader.exists("group/absent/deeper"));
  REQUIRE(reader.is_group("group"));
  REQUIRE(!reader.is_dataset("group"));
  REQUIRE_THROWS_WITH(reader.read("probe", DType::kF32), Contains("expected f32, found c64"));
  REQUIRE_THROWS_WITH(reader.read("counts", DType::kC64), Contains("expected c64, found u16"));
  REQUIRE_THROWS_WITH(reader.number("counts"), Contains("expected one number, found shape [3]"));
  REQUIRE_THROWS_WITH(reader.dataset("group"), Contains("it is a group"));
  REQUIRE_THROWS_WITH(reader.dataset("nothing"), Contains("a.h5:/nothing"));
}

TEST_CASE("HDF5: ranges of the first dimension and blocks", "[hdf5]") {
  const TemporaryFolder folder;
  {
    Hdf5Writer writer(folder / "a.h5");
    writer.create_growable("/patches/phase", {2, 2}, DType::kF32);
    writer.append("/patches/phase", Array::copy_of<float>({0, 1, 2, 3}, {1, 2, 2}));
    writer.append("/patches/phase", Array::copy_of<float>({4, 5, 6, 7, 8, 9, 10, 11}, {2, 2, 2}));
    REQUIRE_THROWS_WITH(writer.append("/patches/phase", Array::zeros({1, 3, 2}, DType::kF32)),
                        Contains("takes rows of f32[2, 2], found f32[1, 3, 2]"));
    writer.commit();
  }
  const Hdf5Reader reader(folder / "a.h5");
  const Hdf5Dataset data = reader.dataset("patches/phase");
  REQUIRE(data.shape() == std::vector<std::int64_t>{3, 2, 2});
  REQUIRE(data.chunk().size() == 3);
  const Array last = data.read(DType::kF64, 1, 2);
  REQUIRE(last.shape() == Shape{2, 2, 2});
  REQUIRE(last.data<double>()[7] == 11);
  const Array block = data.read_block(DType::kI32, {1, 0, 1}, {2, 2, 1});
  REQUIRE(block.data<std::int32_t>()[0] == 5);
  REQUIRE(block.data<std::int32_t>()[3] == 11);
  REQUIRE(data.read(DType::kF32, 3, 0).elements() == 0);
  REQUIRE_THROWS_WITH(data.read(DType::kF32, 2, 2), Contains("lie outside of [3, 2, 2]"));
  REQUIRE_THROWS_WITH(data.read(DType::kF32, -1, 2), Contains("lie outside of"));
}

TEST_CASE("HDF5: a file that is not committed leaves nothing", "[hdf5]") {
  const TemporaryFolder folder;
  {
    Hdf5Writer writer(folder / "a.h5");
    writer.write("numbers", Array::zeros({100}, DType::kF32));
  }
  REQUIRE(files_in(folder.path()) == 0);
  REQUIRE_THROWS_WITH(Hdf5Writer(folder / "absent" / "a.h5"), Contains("a.h5"));
}

TEST_CASE("HDF5: a full disk is one error and leaves nothing", "[hdf5]") {
  const TemporaryFolder folder;
  const Array megabyte = Array::zeros({16, 128, 128}, DType::kF32);
  const std::string streamed = message_of([&] {
    Hdf5Writer writer(folder / "a.h5");
    const FileSizeLimit limit(2 << 20);
    writer.create_growable("patches", {128, 128}, DType::kF32);
    for (int k = 0; k < 4; ++k) writer.append("patches", megabyte);
    writer.commit();
  });
  REQUIRE_THAT(streamed, Contains("a.h5: cannot write 1048576 more bytes"));
  const std::string whole = message_of([&] {
    Hdf5Writer writer(folder / "b.h5");
    const FileSizeLimit limit(2 << 20);
    writer.write("patches", megabyte);
    writer.commit();
  });
  REQUIRE_THAT(whole, Contains("b.h5: cannot write 1048576 more bytes"));
  REQUIRE(files_in(folder.path()) == 0);
  Hdf5Writer after(folder / "d.h5");  // the library still works
  after.write("patches", megabyte);
  after.commit();
  REQUIRE(Hdf5Reader(folder / "d.h5").dataset("patches").elements() == 16 * 128 * 128);
}

TEST_CASE("HDF5: damaged files are errors", "[hdf5]") {
  const TemporaryFolder folder;
  std::ofstream(folder / "text.h5") << "this is text, not HDF5, whatever it is called\n";
  REQUIRE(!Hdf5Reader::is_hdf5(folder / "text.h5"));
  REQUIRE_THROWS_WITH(Hdf5Reader(folder / "text.h5"), Contains("expected an HDF5 file"));
  REQUIRE_THROWS_WITH(Hdf5Reader(folder / "absent.h5"), Contains("no such file"));
  {
    Hdf5Writer writer(folder / "a.h5");
    writer.write("numbers", Array::zeros({1000, 10}, DType::kF32));
    writer.commit();
  }
  const auto size = std::filesystem::file_size(folder / "a.h5");
  for (const std::uintmax_t length :
       {std::uintmax_t{0}, std::uintmax_t{8}, std::uintmax_t{100}, size / 2, size - 1}) {
    std::filesystem::copy_file(folder / "a.h5", folder / "cut.h5",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut.h5", length);
    INFO("cut to " << length << " of " << size << " bytes");
    REQUIRE_THROWS_AS(Hdf5Reader(folder / "cut.h5").read("numbers", DType::kF32), Error);
  }
}

TEST_CASE("HDF5: several threads take turns", "[hdf5]") {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  std::vector<int> good(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 10; ++round) {
        const std::filesystem::path path = folder / text(t, "-", round, ".h5");
        Hdf5Writer writer(path);
        writer.write("value", std::vector<std::int64_t>{t, round});
        writer.commit();
        const auto back = Hdf5Reader(path).dataset("value").read_integers();
        good[static_cast<std::size_t>(t)] += back == std::vector<std::int64_t>{t, round};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(good == std::vector<int>(4, 10));
}

}  // namespace ptynet::io

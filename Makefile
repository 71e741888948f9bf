# The commands of a working day, each a thin cover over a CMake preset. `make help` lists them.

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
# SKIP_DEPS=1 where packages are provided by other means than apt.
SKIP_DEPS ?=
# More arguments for every `cmake --preset`, e.g. -DPTYNET_FFT=kissfft
CMAKE_ARGUMENTS ?=

# How far clang-tidy's analyzer follows calls: shallow, or deep, which takes three times as long.
ANALYZER ?= shallow

# What `make package` packs: release or cuda.
PRESET ?= release

PROGRAM := build/release/bin/ptynet
DEMO := examples/demo
# About a minute on two cores; docs/fine-tuning.md explains the options.
DEMO_FINETUNE := --consistency 10 --learning-rate 3e-4 --schedule cosine --epochs 90
FOLDERS := kernels autograd layers io engine tools tests benchmarks examples
SOURCES = $(shell find $(FOLDERS) -name '*.h' -o -name '*.cpp' -o -name '*.c' -o -name '*.cu')
SUMMARY := python3 tools/summarise_tests.py
# The build that cuda-check looks at: the release, where that found nvcc and its libraries.
CUDA_BUILD = $(if $(wildcard build/release/lib/libptynet_cuda.so),release,cuda)
# Before a command: names the CUDA compiler to CMake, and fetches one where there is none.
WITH_NVCC := CUDACXX="$$(tools/install_nvcc.sh)" || exit 1; export CUDACXX;

.DEFAULT_GOAL := help
.PHONY: help deps demo test release dev asan-ubsan tsan cuda-check package tidy format format-check layering bench install clean

help:  ## show this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

deps:  ## install the Debian packages that are missing
	@[ -n "$(SKIP_DEPS)" ] || tools/install_dependencies.sh

release dev: deps  ## build build/release or build/dev
	cmake --preset $@ $(CMAKE_ARGUMENTS)
	cmake --build --preset $@ --parallel $(JOBS)

demo: release  ## reconstruct the shipped scan, fine-tune on it for a minute, show both beside the truth
	@mkdir -p demo
	$(PROGRAM) reconstruct $(DEMO)/scan.cxi --weights $(DEMO)/ptynet-s.h5 \
	  --output demo/before.h5 --png demo
	@echo
	$(PROGRAM) finetune $(DEMO)/scan.cxi --weights $(DEMO)/ptynet-s.h5 $(DEMO_FINETUNE) \
	  --output demo/tuned.h5 --reconstruction demo/after.h5
	@echo
	$(PROGRAM) evaluate demo/before.h5 demo/after.h5 --truth-amplitude $(DEMO)/truth.npz:amplitude \
	  --truth-phase $(DEMO)/truth.npz:phase --border 32 --convention physical --png demo
	@echo
	@echo "Before, after and truth, side by side: $(CURDIR)/demo/comparison.png"

test: release  ## build, then run every test
	@rm -f build/release/tests.xml
	@ctest --preset release --parallel $(JOBS) --output-junit tests.xml; \
	  $(SUMMARY) build/release/tests.xml

asan-ubsan tsan: deps  ## run every test under the sanitizers
	cmake --preset $@ $(CMAKE_ARGUMENTS)
	cmake --build --preset $@ --parallel $(JOBS)
	@rm -f build/$@/tests.xml
	@ctest --preset $@ --parallel $(JOBS) --label-exclude slow --output-junit tests.xml; \
	  $(SUMMARY) build/$@/tests.xml

cuda-check: deps  ## compile the CUDA kernels for every architecture with nvcc, fail on spills
	$(if $(filter cuda,$(CUDA_BUILD)),$(WITH_NVCC) cmake --preset cuda -DPTYNET_CUDA_BACKEND=OFF $(CMAKE_ARGUMENTS))
	cmake --build --preset $(CUDA_BUILD) --target cuda-check --parallel $(JOBS)

tidy: deps  ## clang-tidy over the storeys
	cmake --preset tidy $(CMAKE_ARGUMENTS) >/dev/null
	@run-clang-tidy -quiet -p build/tidy -j $(JOBS) $(foreach \
	    word,-Xclang -analyzer-config -Xclang mode=$(ANALYZER),-extra-arg=$(word)) \
	  '^$(CURDIR)/(kernels|autograd|layers|io|engine|tools)/' >build/tidy/report.txt 2>&1; \
	  status=$$?; sed -E 's/\x1b\[[0-9;]*m//g' build/tidy/report.txt | grep -E '(warning|error):' | sort -u; \
	  [ $$status -eq 0 ] && echo "tidy: clean" || { echo "tidy: see build/tidy/report.txt"; exit 1; }

format:  ## clang-format every source file in place
	clang-format -i $(SOURCES)

format-check:  ## fail when a source file is not formatted
	@clang-format --dry-run --Werror $(SOURCES) && echo "format: clean"

layering:  ## fail when a file includes what stands above or beside its storey
	@python3 tools/check_layering.py

bench: release  ## time the built-in networks on this machine
	@for name in ptynet-s ptynet-b ptychonn; do for batch in 1 16; do \
	  $(PROGRAM) bench --architecture $$name --batch $$batch || exit 1; done; done

# CPack's xz looks back 8 MB, and not as far as the next program with the same kernels.
package: deps  ## one archive that runs where it is unpacked; PRESET=cuda adds CUDA
	$(if $(filter cuda,$(PRESET)),$(WITH_NVCC)) cmake --preset $(PRESET) $(CMAKE_ARGUMENTS)
	cmake --build --preset $(PRESET) --target package-files --parallel $(JOBS)
	@cd build && cpack --config $(PRESET)/CPackConfig.cmake && for archive in ptynet-*.tar.xz; do \
	  xz -dc $$archive | xz -9 >$$archive.new && mv $$archive.new $$archive && ls -l $$archive || exit 1; done

install: release  ## install under PREFIX (default /usr/local)
	cmake --install build/release --prefix "$(PREFIX)"

clean:  ## remove what was built and what the demo made
	rm -rf build demo

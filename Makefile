# Thin: Meson does the work. BUILD=dir and CC=clang are honoured.
BUILD ?= build
MESON_ARGS ?=
PYTHON := /usr/bin/python3

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@tools/deps.sh
	@PATH=/usr/bin:/bin:$$PATH meson setup $(BUILD) --prefix=/usr --libdir=lib $(MESON_ARGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }; mv $(BUILD).log $(BUILD)/setup.log

# Installed tree in build/stage: programs find each other relative to themselves.
stage: all
	@DESTDIR=$(CURDIR)/$(BUILD)/stage PATH=/usr/bin:/bin:$$PATH meson install -C $(BUILD) --no-rebuild --quiet

demo: stage
	@demo/run --stage $(BUILD)/stage --out $(BUILD)/demo

check: stage
	@tests/run --build $(BUILD)

bench: stage
	@bench/run --build $(BUILD)

# Packages in build/deb; stripped, with their dependencies written in.
deb: stage
	@command -v dh_dkms >/dev/null || { echo "make deb needs: apt-get install debhelper dh-dkms"; exit 1; }
	@rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb
	@DEB_BUILD_OPTIONS=noautodbgsym DEB_DESTINATION=$(BUILD)/deb debian/rules binary >$(BUILD)/deb.log 2>&1 || { tail -20 $(BUILD)/deb.log; exit 1; }
	@debian/rules clean >>$(BUILD)/deb.log 2>&1; ls $(BUILD)/deb/*.deb

fuzz:
	@fuzz/run

format:
	@git ls-files 'src/*.c' 'src/*.h' 'tests/*.c' 'bench/*.c' 'fuzz/*.c' | xargs clang-format -i

clean:
	@rm -rf $(BUILD)

.PHONY: all stage demo check bench deb fuzz format clean

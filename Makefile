# Tidemark: make = build/tidemark and the test programs; make help lists the rest.
# Three builds of the same sources: release (build/obj), asan (build/asan), tsan (build/tsan).
BUILD ?= build
CC ?= gcc
MODULES := base log coord http broker cli
LIBS := libuv libcrypto libisal libzstd liblz4 snappy zlib libmicrohttpd libcurl yaml-0.1
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Werror
VERSION := $(shell cat VERSION)
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -DTIDEMARK_VERSION='"$(VERSION)"' -Isrc -pthread -MMD -MP $(WARNINGS) \
              $(shell pkg-config --cflags $(filter-out snappy,$(LIBS)) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(filter-out snappy,$(LIBS)) 2>/dev/null) -lsnappy -ldl -lm -pthread
CFLAGS_release := -O2 -g -fno-plt -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread

SOURCES := $(filter-out %_test.c %_fuzz.c,$(wildcard src/*.c src/*/*.c))
TESTS := $(wildcard src/*/*_test.c)
FUZZERS := $(wildcard src/*/*_fuzz.c)
# The layers below each module: its tests link against these alone.
BELOW_base := base
BELOW_log := base log
BELOW_coord := base log coord
BELOW_http := base http
BELOW_broker := base log coord http broker
BELOW_cli := base http cli

# objects BUILD-KIND, MODULES
objects = $(patsubst src/%.c,$(BUILD)/$(1)/%.o,$(filter $(foreach m,$(2),src/$(m)/%),$(SOURCES)))
module_of = $(word 2,$(subst /, ,$(1)))
test_name = $(BUILD)/$(2)/$(subst /,_,$(patsubst src/%_test.c,%,$(1)))

.PHONY: all test-programs run test unit soak asan tsan fuzz tidy bench install clean help deps
all: $(BUILD)/tidemark test-programs

help:
	@echo "make            build/tidemark and build/test/*"
	@echo "make run        the main job on real input"
	@echo "make test       unit tests and whole-program tests (sanitizers on)"
	@echo "make unit       unit tests alone;  unit-MODULE for one folder"
	@echo "make soak       long proofs: crash loops, fuzzing, simulation"
	@echo "make tsan       concurrency tests under the thread sanitizer"
	@echo "make fuzz       every fuzzer for FUZZ_SECONDS (default 60)"
	@echo "make tidy       sizes, directions, banned calls, format"
	@echo "make bench      numbers against peers, printed as ratios"
	@echo "make install    into PREFIX (default /usr/local)"

deps:
	@tools/install-deps $(DEPS_FOR)

define build_rules
$(BUILD)/$(1)/%.o: src/%.c
	@mkdir -p $$(dir $$@)
	$$(CC) $(CFLAGS_ALL) $(CFLAGS_$(1)) $$(CFLAGS) -c -o $$@ $$<
endef
$(foreach kind,release asan tsan,$(eval $(call build_rules,$(kind))))

$(BUILD)/tidemark: $(patsubst src/%.c,$(BUILD)/release/%.o,$(SOURCES))
	$(CC) $(CFLAGS_release) -Wl,--as-needed -o $@ $^ $(LDLIBS)
$(BUILD)/asan/tidemark: $(patsubst src/%.c,$(BUILD)/asan/%.o,$(SOURCES))
	$(CC) $(CFLAGS_asan) -Wl,--as-needed -o $@ $^ $(LDLIBS)
$(BUILD)/tsan/tidemark: $(patsubst src/%.c,$(BUILD)/tsan/%.o,$(SOURCES))
	$(CC) $(CFLAGS_tsan) -Wl,--as-needed -o $@ $^ $(LDLIBS)

# test_rules TEST-SOURCE: build/test/MODULE_NAME (asan) and build/tsan-test/MODULE_NAME
define test_rules
$(call test_name,$(1),test): $(BUILD)/asan/$(patsubst src/%.c,%.o,$(1)) $(call objects,asan,$(BELOW_$(call module_of,$(1))))
	@mkdir -p $$(dir $$@)
	$$(CC) $(CFLAGS_asan) -Wl,--as-needed -o $$@ $$^ -lcmocka $$(LDLIBS)
$(call test_name,$(1),tsan-test): $(BUILD)/tsan/$(patsubst src/%.c,%.o,$(1)) $(call objects,tsan,$(BELOW_$(call module_of,$(1))))
	@mkdir -p $$(dir $$@)
	$$(CC) $(CFLAGS_tsan) -Wl,--as-needed -o $$@ $$^ -lcmocka $$(LDLIBS)
test-programs: $(call test_name,$(1),test)
unit-$(call module_of,$(1)): run-$(call test_name,$(1),test)
tsan: run-$(call test_name,$(1),tsan-test)
endef
$(foreach t,$(TESTS),$(eval $(call test_rules,$(t))))

unit: $(foreach t,$(TESTS),run-$(call test_name,$(t),test))
run-%: %
	$<

# Fuzzers are built by clang, with their module and the layers below in one go.
define fuzz_rules
$(BUILD)/fuzz/$(subst /,_,$(patsubst src/%_fuzz.c,%,$(1))): $(1) $(filter $(foreach m,$(BELOW_$(call module_of,$(1))),src/$(m)/%),$(SOURCES))
	@mkdir -p $$(dir $$@)
	clang $(filter-out -MMD -MP,$(CFLAGS_ALL)) -O1 -g -fsanitize=fuzzer,address,undefined -o $$@ $$^ $$(LDLIBS)
fuzz-programs: $(BUILD)/fuzz/$(subst /,_,$(patsubst src/%_fuzz.c,%,$(1)))
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzz_rules,$(f))))

asan: $(BUILD)/asan/tidemark
fuzz: fuzz-programs
	tools/fuzz $(BUILD)/fuzz $${FUZZ_SECONDS:-60}
tidy:
	tools/tidy
run: DEPS_FOR = run
run: deps
	$(MAKE) $(BUILD)/tidemark
	tools/demo $(BUILD)/tidemark
test: DEPS_FOR = test
test: deps
	$(MAKE) tidy all asan
	tests/run $(BUILD)
soak: DEPS_FOR = test
soak: deps
	$(MAKE) all asan tsan fuzz-programs
	tests/run $(BUILD) --soak
bench: DEPS_FOR = test
bench: deps
	$(MAKE) $(BUILD)/tidemark
	bench/run $(BUILD)/tidemark
install: $(BUILD)/tidemark
	install -D -m 755 $(BUILD)/tidemark $(DESTDIR)$(or $(PREFIX),/usr/local)/bin/tidemark
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

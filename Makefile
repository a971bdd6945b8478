# Tidemark: make = build/tidemark and the test programs; make help lists the rest.
# Four builds of the same sources under BUILD: release, asan, tsan, and clang for the fuzzers.
# V=1 shows the commands.
BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
Q := $(if $(V),,@)
LIBS := libuv libcrypto libisal libzstd liblz4 snappy zlib libmicrohttpd libcurl yaml-0.1
# Loaded when first used; of these only the headers are needed to build.
LOADED := rdkafka libpq sqlite3
MISSING := $(shell for p in $(LIBS) $(LOADED) cmocka; do pkg-config --exists $$p || echo $$p; done 2>&1)
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Werror
VERSION := $(shell cat VERSION)
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE -DTIDEMARK_VERSION='"$(VERSION)"' -Isrc -pthread -MMD -MP $(WARNINGS) \
              $(shell pkg-config --cflags $(LIBS) $(LOADED) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(LIBS) 2>/dev/null) -ldl -lm -pthread
# What no one calls (helpers of tests, say) is left out of the release at link time.
CFLAGS_release := -O2 -g -fno-plt -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
                  -ffunction-sections -fdata-sections -Wl,--gc-sections
SANITIZE := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
CFLAGS_asan := $(SANITIZE) -fsanitize=address,undefined
CFLAGS_tsan := $(SANITIZE) -fsanitize=thread
CFLAGS_clang := $(SANITIZE) -fsanitize=fuzzer-no-link,address,undefined
CC_release = $(CC)
CC_asan = $(CC)
CC_tsan = $(CC)
CC_clang := clang

SOURCES := $(filter-out %_test.c %_fuzz.c %_vectors.c,$(wildcard src/*.c src/*/*.c))
TESTS := $(wildcard src/*/*_test.c)
FUZZERS := $(wildcard src/*/*_fuzz.c)
# The layers below each module: its tests link against these alone.
BELOW_base := base
BELOW_log := base log
BELOW_coord := base log coord
BELOW_http := base http
BELOW_broker := base log coord http broker
BELOW_audit := base log coord http audit
BELOW_cli := base http cli

# objects BUILD-KIND, MODULES
objects = $(patsubst src/%.c,$(BUILD)/$(1)/%.o,$(filter $(foreach m,$(2),src/$(m)/%),$(SOURCES)))
module_of = $(word 2,$(subst /, ,$(1)))
test_name = $(BUILD)/$(2)/$(subst /,_,$(patsubst src/%_test.c,%,$(1)))

.PHONY: all test-programs fuzz-programs run run-log test unit soak asan tsan fuzz tidy bench install \
        clean help deps
all: $(BUILD)/tidemark test-programs

help:
	@echo "make            build/tidemark and build/test/*"
	@echo "make run        the main job on real input: a mistake in a database, found and undone"
	@echo "make run-log    the log's: a million records, a kill -9, nothing lost"
	@echo "make test       unit tests and whole-program tests (sanitizers on)"
	@echo "make unit       unit tests alone;  unit-MODULE for one folder"
	@echo "make soak       long proofs: crash loops, fuzzing, simulation"
	@echo "make tsan       concurrency tests under the thread sanitizer"
	@echo "make fuzz       all fuzzers, FUZZ_SECONDS shared out among them (default 60)"
	@echo "make tidy       sizes, directions, banned calls, format"
	@echo "make bench      numbers against peers, printed as ratios"
	@echo "make install    into PREFIX (default /usr/local)"

deps:
	@tools/install-deps $(DEPS_FOR)

define build_rules
$(BUILD)/$(1)/%.o: src/%.c VERSION
	$$(if $$(MISSING),$$(error missing: $$(MISSING); run tools/install-deps))
	@mkdir -p $$(dir $$@)
	@echo "$(1) $$<"
	$$(Q)$$(CC_$(1)) $(CFLAGS_ALL) $(CFLAGS_$(1)) $$(CFLAGS) -c -o $$@ $$<
endef
$(foreach kind,release asan tsan clang,$(eval $(call build_rules,$(kind))))

# program_rules PATH, BUILD-KIND
define program_rules
$(BUILD)/$(1): $(patsubst src/%.c,$(BUILD)/$(2)/%.o,$(SOURCES))
	@echo "link $$@"
	$(Q)$$(CC) $(CFLAGS_$(2)) -Wl,--as-needed -o $$@ $$^ $$(LDLIBS)
endef
$(eval $(call program_rules,tidemark,release))
$(eval $(call program_rules,asan/tidemark,asan))
$(eval $(call program_rules,tsan/tidemark,tsan))

# test_rules TEST-SOURCE: build/test/MODULE_NAME (asan) and build/tsan-test/MODULE_NAME
define test_link
$(call test_name,$(1),$(2)): $(patsubst src/%.c,$(BUILD)/$(3)/%.o,$(1)) $(call objects,$(3),$(BELOW_$(call module_of,$(1))))
	@mkdir -p $$(dir $$@)
	@echo "link $$@"
	$(Q)$$(CC) $(CFLAGS_$(3)) -Wl,--as-needed -o $$@ $$^ -lcmocka $$(LDLIBS)
endef
define test_rules
$(call test_link,$(1),test,asan)
$(call test_link,$(1),tsan-test,tsan)
test-programs: $(call test_name,$(1),test)
unit-$(call module_of,$(1)): run-$(call test_name,$(1),test)
tsan: run-$(call test_name,$(1),tsan-test)
endef
$(foreach t,$(TESTS),$(eval $(call test_rules,$(t))))

# Programs that run files of recorded cases: build/test/X_vectors, src/MODULE/X_vectors.c.
define vectors_rules
$(BUILD)/test/$(notdir $(1:.c=)): $(patsubst src/%.c,$(BUILD)/asan/%.o,$(1)) $(call objects,asan,$(BELOW_$(call module_of,$(1))))
	@mkdir -p $$(dir $$@)
	@echo "link $$@"
	$(Q)$$(CC) $(CFLAGS_asan) -Wl,--as-needed -o $$@ $$^ $$(LDLIBS)
test-programs: $(BUILD)/test/$(notdir $(1:.c=))
endef
$(foreach v,$(wildcard src/*/*_vectors.c),$(eval $(call vectors_rules,$(v))))

unit: $(foreach t,$(TESTS),run-$(call test_name,$(t),test))
RUNS := $(foreach k,test tsan-test,$(foreach t,$(TESTS),run-$(call test_name,$(t),$(k))))
.PHONY: $(RUNS)
$(RUNS): run-%: %
	$<

# fuzz_rules FUZZ-SOURCE: build/fuzz/MODULE_NAME
fuzz_name = $(BUILD)/fuzz/$(subst /,_,$(patsubst src/%_fuzz.c,%,$(1)))
define fuzz_rules
$(call fuzz_name,$(1)): $(BUILD)/clang/$(patsubst src/%.c,%.o,$(1)) $(call objects,clang,$(BELOW_$(call module_of,$(1))))
	@mkdir -p $$(dir $$@)
	@echo "link $$@"
	$(Q)clang -fsanitize=fuzzer,address,undefined -Wl,--as-needed -o $$@ $$^ $$(LDLIBS)
fuzz-programs: $(call fuzz_name,$(1))
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzz_rules,$(f))))

asan: $(BUILD)/asan/tidemark
fuzz: fuzz-programs
	tools/fuzz $(BUILD)/fuzz $${FUZZ_SECONDS:-60}
tidy:
	tools/tidy
run run-log: DEPS_FOR = run
run: deps
	$(MAKE) $(BUILD)/tidemark
	tools/demo $(BUILD)/tidemark
run-log: deps
	$(MAKE) $(BUILD)/tidemark
	tools/demo-log $(BUILD)/tidemark
test: DEPS_FOR = test
test: deps
	$(MAKE) tidy all asan $(BUILD)/tsan/tidemark fuzz-programs
	tests/run $(BUILD)
soak: DEPS_FOR = test
soak: deps
	$(MAKE) all asan tsan $(BUILD)/tsan/tidemark fuzz-programs
	tests/run $(BUILD) --soak
bench: DEPS_FOR = test
bench: deps
	$(MAKE) $(BUILD)/tidemark
	bench/run $(BUILD)/tidemark
INSTALLED := $(DESTDIR)$(or $(PREFIX),/usr/local)
install: $(BUILD)/tidemark
	install -D -m 755 $(BUILD)/tidemark $(INSTALLED)/bin/tidemark
	install -d $(INSTALLED)/share/bash-completion/completions
	$(BUILD)/tidemark help --completion bash >$(INSTALLED)/share/bash-completion/completions/tidemark
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

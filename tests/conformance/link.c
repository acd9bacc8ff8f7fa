/* SPDX-License-Identifier: Apache-2.0 */
/* The JIT linker: pieces of PTX that refer to one another become one image. */
#include "conf.h"
#include <unistd.h>

#define HEAD(version) ".version " version "\n.target sm_52\n.address_size 64\n"

/* out[0] = twice(in) + table[1] */
static const char user[] = "// uses what others define\n" HEAD("6.0")
	".extern .func (.param .b32 r) twice(.param .b32 a);\n"
	".extern .global .align 4 .u32 table[4];\n"
	".visible .entry use(.param .u64 out, .param .u32 in)\n"
	"{\n"
	"	.reg .b64 %d<3>;\n"
	"	.reg .b32 %r<5>;\n"
	"	ld.param.u64 %d1, [out];\n"
	"	ld.param.u32 %r1, [in];\n"
	"	{\n"
	"	.param .b32 a;\n"
	"	.param .b32 r;\n"
	"	st.param.b32 [a], %r1;\n"
	"	call.uni (r), twice, (a);\n"
	"	ld.param.b32 %r2, [r];\n"
	"	}\n"
	"	ld.global.u32 %r3, [table+4];\n"
	"	add.u32 %r4, %r2, %r3;\n"
	"	cvta.to.global.u64 %d2, %d1;\n"
	"	st.global.u32 [%d2], %r4;\n"
	"	ret;\n"
	"}\n";
static const char function[] = "/* a comment */\n" HEAD("6.3")
	".visible .func (.param .b32 r) twice(.param .b32 a)\n"
	"{\n"
	"	.reg .b32 %r<3>;\n"
	"	ld.param.b32 %r1, [a];\n"
	"	shl.b32 %r2, %r1, 1;\n"
	"	st.param.b32 [r], %r2;\n"
	"	ret;\n"
	"}\n";
static const char table[] = HEAD("6.0") ".visible .global .align 4 .u32 table[4] = {10, 20, 30, 40};\n";

static char error_log[2048], info_log[2048];

static CUlinkState begin(void)
{
	static CUjit_option opt[] = { CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, CU_JIT_INFO_LOG_BUFFER,
				      CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES };
	static void *val[4]; /* must live as long as the link */
	CUlinkState l = NULL;

	conf_context();
	memset(error_log, 0, sizeof(error_log));
	val[0] = error_log;
	val[1] = (void *)sizeof(error_log);
	val[2] = info_log;
	val[3] = (void *)sizeof(info_log);
	OK(cuLinkCreate(4, opt, val, &l));
	return l;
}

static CUresult add(CUlinkState l, const char *ptx)
{
	return cuLinkAddData(l, CU_JIT_INPUT_PTX, (void *)(uintptr_t)ptx, strlen(ptx) + 1, "piece", 0, NULL, NULL);
}

static void runs(const void *cubin)
{
	uint32_t in = 21, got = 0;
	CUdeviceptr out = conf_alloc(4);
	CUmodule m;

	OK(cuModuleLoadData(&m, cubin));
	LAUNCH(conf_function(m, "use"), 1, 1, 0, &out, &in);
	OK(cuMemcpyDtoH(&got, out, 4));
	EQ(got, 62);
	OK(cuModuleUnload(m));
	OK(cuMemFree(out));
}

static void one_piece(void)
{
	CUlinkState l = begin();
	CUfunction f;
	CUmodule m;
	void *cubin = NULL;
	size_t size = 0;

	OK(add(l, ptx_basic));
	OK(cuLinkComplete(l, &cubin, &size));
	TRUE(cubin && size);
	OK(cuModuleLoadData(&m, cubin));
	OK(cuLinkDestroy(l)); /* the module does not need it */
	OK(cuModuleGetFunction(&f, m, "fill"));
	OK(cuModuleUnload(m));
	IS(CUDA_ERROR_INVALID_HANDLE, cuLinkDestroy(l));
}

/* In every order: who uses comes before or behind who defines. */
static void several_pieces(void)
{
	static const char *const order[][3] = { { user, function, table }, { function, table, user }, { table, user, function } };

	for (int i = 0; i < 3; i++) {
		CUlinkState l = begin();
		void *cubin;
		size_t size;

		for (int k = 0; k < 3; k++)
			OK(add(l, order[i][k]));
		OK(cuLinkComplete(l, &cubin, &size));
		runs(cubin);
		OK(cuLinkDestroy(l));
	}
}

static void from_a_file(void)
{
	char path[] = "/tmp/conf-link-XXXXXX";
	CUlinkState l = begin();
	int fd = mkstemp(path);
	void *cubin;

	TRUE(fd >= 0 && write(fd, function, strlen(function)) == (ssize_t)strlen(function));
	close(fd);
	OK(add(l, user));
	OK(cuLinkAddFile(l, CU_JIT_INPUT_PTX, path, 0, NULL, NULL));
	unlink(path);
	IS(CUDA_ERROR_FILE_NOT_FOUND, cuLinkAddFile(l, CU_JIT_INPUT_PTX, path, 0, NULL, NULL));
	OK(add(l, table));
	OK(cuLinkComplete(l, &cubin, NULL));
	runs(cubin);
	OK(cuLinkDestroy(l));
}

static void errors(void)
{
	CUlinkState l = begin();
	CUmodule m;
	void *cubin;

	IS(CUDA_ERROR_INVALID_PTX, add(l, HEAD("6.0") ".visible .entry broken()\n{\n	nonsense;\n}\n"));
	TRUE(strstr(error_log, "nonsense"));
	OK(add(l, user)); /* what it refers to is missing */
	TRUE(cuLinkComplete(l, &cubin, NULL) != CUDA_SUCCESS);
	TRUE(strstr(error_log, "twice") || strstr(error_log, "table"));
	OK(cuLinkDestroy(l));
	TRUE(cuModuleLoadData(&m, user) != CUDA_SUCCESS);
	l = begin();
	OK(add(l, function));
	OK(add(l, function));
	TRUE(cuLinkComplete(l, &cubin, NULL) != CUDA_SUCCESS);
	TRUE(strstr(error_log, "twice"));
	IS(CUDA_ERROR_INVALID_VALUE, cuLinkAddData(l, CU_JIT_INPUT_PTX, NULL, 4, "", 0, NULL, NULL));
	OK(cuLinkDestroy(l));
	IS(CUDA_ERROR_INVALID_VALUE, cuLinkCreate(0, NULL, NULL, NULL));
}

static const struct conf_case cases[] = {
	{ "one piece of PTX", one_piece, false },
	{ "three pieces in every order", several_pieces, false },
	{ "a piece from a file", from_a_file, false },
	{ "broken, unresolved and double pieces", errors, false },
};
CONF_MAIN(cases)

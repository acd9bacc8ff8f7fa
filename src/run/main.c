/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-run: run one program on a shared device; see vgpu-run(1). */
#include "run/private.h"
#include "base/log.h"
#include "base/where.h"
#include "vgpud/transports/unix_proto.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_RUN_DIR "/run/openvgpu"
#define DEFAULT_TENANT "default"
#define ANSWER_MS 10000
/* Our own failures, as of env(1), nohup(1) and the like. */
#define EXIT_OURS 125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

static const char usage[] =
	"usage: vgpu-run [--tenant NAME] [--run-dir DIR | --private] -- PROGRAM [ARGUMENT]...\n"
	"       vgpu-run --direct -- PROGRAM [ARGUMENT]...\n"
	"  --tenant NAME  act as this tenant (default: \"default\")\n"
	"  --run-dir DIR  where vgpud runs (default: $VGPU_RUN_DIR or " DEFAULT_RUN_DIR ")\n"
	"  --private      start a vgpud for this run only, even if one is running\n"
	"  --direct       no sharing: load softcuda, or $VGPU_DRIVER, into the program itself\n"
	"  --help, --version\n"
	"Without a running vgpud a private one is started for the run.\n";

struct arguments {
	const char *tenant, *run_dir;
	bool direct, private_, explicit_dir;
	char **program;
};

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {{"tenant", 1, NULL, 't'}, {"run-dir", 1, NULL, 'r'},
					      {"direct", 0, NULL, 'd'}, {"private", 0, NULL, 'p'},
					      {"help", 0, NULL, 'h'},	{"version", 0, NULL, 'V'}, {0}};
	int c;

	a->tenant = DEFAULT_TENANT;
	a->run_dir = getenv("VGPU_RUN_DIR");
	a->explicit_dir = a->run_dir && *a->run_dir;
	if (!a->explicit_dir)
		a->run_dir = DEFAULT_RUN_DIR;
	while ((c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case 't':
			a->tenant = optarg;
			break;
		case 'r':
			a->run_dir = optarg;
			a->explicit_dir = true;
			break;
		case 'd':
			a->direct = true;
			break;
		case 'p':
			a->private_ = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("vgpu-run " VGPU_VERSION_STRING);
			exit(0);
		default:
			fputs(usage, stderr);
			return -1;
		}
	}
	a->program = argv + optind;
	if (!*a->program) {
		fprintf(stderr, "vgpu-run: no program given\n%s", usage);
		return -1;
	}
	return 0;
}

/* The folder of `library` comes first in the program's library path. */
static void prepend_library_path(const char *library)
{
	const char *old = getenv("LD_LIBRARY_PATH");
	char value[2 * PATH_MAX + 2];
	int dir = (int)(strrchr(library, '/') - library);

	if (old && *old)
		snprintf(value, sizeof(value), "%.*s:%s", dir, library, old);
	else
		snprintf(value, sizeof(value), "%.*s", dir, library);
	setenv("LD_LIBRARY_PATH", value, 1);
}

static int exec_program(char **program)
{
	execvp(program[0], program);
	log_error("%s: %s", program[0], strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static struct vgpu_err *direct_library(char *path, size_t len)
{
	const char *driver = getenv("VGPU_DRIVER");
	char real[PATH_MAX];

	if (!driver || !*driver)
		return where_is(WHERE_SOFTCUDA, path, len)
			       ? err_new("softcuda's libcuda.so.1 is not installed beside vgpu-run") : NULL;
	if (!realpath(driver, real))
		return err_sys(errno, "VGPU_DRIVER: %s", driver);
	/* The program asks for libcuda.so.1, so that is the name the folder must hold. */
	*strrchr(real, '/') = 0;
	if ((size_t)snprintf(path, len, "%s/libcuda.so.1", real) >= len || access(path, R_OK))
		return err_new("VGPU_DRIVER: %s: no libcuda.so.1 in its folder", driver);
	return NULL;
}

enum reach { REACHED, NOBODY, REFUSED };

/* Says hello as the tenant, to know before the program starts whether it would be served. The
 * connection is closed again: it costs the host a memory nobody touches. */
static enum reach try_hello(const char *path, const char *tenant, struct vgpu_err **e)
{
	struct vgpu_unix_hello h = {.magic = VGPU_UNIX_MAGIC, .version = VGPU_UNIX_VERSION};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct vgpu_unix_reply r;

	if (strlen(path) >= sizeof(a.sun_path)) {
		*e = err_new("%s: longer than a socket's path may be", path);
		return REFUSED;
	}
	strcpy(a.sun_path, path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		*e = errno == ECONNREFUSED
			     ? err_new("%s: stale socket, nobody listens: start vgpud", path)
			     : err_sys(errno, "%s", path);
		return errno == EACCES ? REFUSED : NOBODY;
	}
	snprintf(h.tenant, sizeof(h.tenant), "%s", tenant);
	if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) < 0 || poll(&p, 1, ANSWER_MS) <= 0 ||
	    recv(fd, &r, sizeof(r), 0) != (ssize_t)sizeof(r) || r.magic != VGPU_UNIX_MAGIC) {
		*e = err_new("%s: no answer from vgpud", path);
		return REFUSED;
	}
	r.text[sizeof(r.text) - 1] = 0;
	if (r.status == VGPU_UNIX_OK)
		return REACHED;
	*e = err_new("%s: %s", path, r.text);
	return REFUSED;
}

static pid_t program_pid;

static void forward(int sig)
{
	if (program_pid > 0)
		kill(program_pid, sig);
}

/* Its exit status becomes ours, its fatal signal too. */
static int wait_program(void)
{
	int status;

	while (waitpid(program_pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_OURS;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_and_wait(char **program)
{
	struct sigaction act = {.sa_handler = forward};

	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	signal(SIGINT, SIG_IGN); /* a terminal sends it to the program as well */
	signal(SIGQUIT, SIG_IGN);
	program_pid = fork();
	if (program_pid == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		_exit(exec_program(program));
	}
	if (program_pid < 0) {
		log_error("fork: %m");
		return EXIT_OURS;
	}
	return wait_program();
}

static int pass_on(int result)
{
	struct rlimit none = {0, 0};

	if (result >= 0)
		return result;
	setrlimit(RLIMIT_CORE, &none);
	signal(-result, SIG_DFL);
	raise(-result);
	return 128 - result;
}

static int run_private(const struct arguments *a)
{
	struct private_vgpud p;
	cleanup_err struct vgpu_err *e = private_start(&p, a->tenant);
	char sock[128];
	int result;

	if (e) {
		log_error("%s", e->text);
		return EXIT_OURS;
	}
	snprintf(sock, sizeof(sock), "%s/guest.sock", p.run_dir);
	setenv("VGPU_SOCKET", sock, 1);
	result = run_and_wait(a->program);
	private_end(&p);
	return pass_on(result);
}

int main(int argc, char **argv)
{
	struct arguments a = {0};
	cleanup_err struct vgpu_err *e = NULL;
	char library[PATH_MAX], sock[PATH_MAX];
	enum reach r = NOBODY;

	log_init("vgpu-run", LOG_L_INFO);
	if (parse_arguments(argc, argv, &a))
		return EXIT_OURS;
	if (a.direct)
		e = direct_library(library, sizeof(library));
	else if (where_is(WHERE_GUEST, library, sizeof(library)))
		e = err_new("the guest's libcuda.so.1 is not installed beside vgpu-run");
	if (e) {
		log_error("%s", e->text);
		return EXIT_OURS;
	}
	prepend_library_path(library);
	if (a.direct)
		return exec_program(a.program);
	setenv("VGPU_TENANT", a.tenant, 1);
	snprintf(sock, sizeof(sock), "%s/guest.sock", a.run_dir);
	if (!a.private_)
		r = try_hello(sock, a.tenant, &e);
	if (r == REACHED) {
		setenv("VGPU_SOCKET", sock, 1);
		return exec_program(a.program);
	}
	if (r == REFUSED || (a.explicit_dir && !a.private_)) {
		log_error("%s", e->text);
		return EXIT_OURS;
	}
	return run_private(&a);
}

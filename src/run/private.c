/* SPDX-License-Identifier: Apache-2.0 */
#include "run/private.h"
#include "base/buf.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/where.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 30000
#define END_MS 5000
#define OPTIONS_MAX 10

static int unlink_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static void remove_dir(const char *dir)
{
	nftw(dir, unlink_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct vgpu_err *make_dir(struct private_vgpud *p)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	/* Short enough for a socket's path below it. */
	if (!base || base[0] != '/' || strlen(base) > 40 || access(base, W_OK))
		base = "/tmp";
	snprintf(p->dir, sizeof(p->dir), "%s/vgpu-run.XXXXXX", base);
	if (!mkdtemp(p->dir))
		return err_sys(errno, "%s", p->dir);
	/* As root the broker has another uid and must be able to walk through. */
	if (geteuid() == 0 && chmod(p->dir, 0711))
		return err_sys(errno, "%s", p->dir);
	snprintf(p->run_dir, sizeof(p->run_dir), "%s/run", p->dir);
	return NULL;
}

static struct vgpu_err *make_notify(const struct private_vgpud *p, int *fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/notify", p->dir);
	*fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&a, sizeof(a)))
		return err_sys(errno, "%s", a.sun_path);
	return NULL;
}

static void __attribute__((noreturn)) run_vgpud(const struct private_vgpud *p, const char *path, const char *log)
{
	/* The tenant is the user who runs it: what landlock would protect is his own, and a cap on starts or
	 * shared memory would only be in his way. */
	static const char *const fixed[] = {"landlock=accept-missing", "spawn-burst=1000", "spawn-rate=1000",
					    "bar-size=1G", "bar-budget=64G", NULL};
	char state[128], run[128], notify[128];
	const char *argv[2 * OPTIONS_MAX] = {"vgpud", "-c", "/dev/null", "-o", run, "-o", state};
	int n = 7, fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND, 0600), null = open("/dev/null", O_RDWR);

	for (int i = 0; fixed[i]; i++) {
		argv[n++] = "-o";
		argv[n++] = fixed[i];
	}
	snprintf(run, sizeof(run), "run-dir=%s", p->run_dir);
	snprintf(state, sizeof(state), "state-dir=%s/state", p->dir);
	snprintf(notify, sizeof(notify), "%s/notify", p->dir);
	setenv("NOTIFY_SOCKET", notify, 1);
	unsetenv("JOURNAL_STREAM");
	setsid(); /* ^C is for the program */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(null, 0);
	dup2(null, 1);
	dup2(fd, 2);
	execv(path, (char *const *)argv);
	_exit(127);
}

/* What it said before it ended, as one line for the user. */
static struct vgpu_err *last_words(const char *log)
{
	cleanup_mem char *text = NULL;
	cleanup_err struct vgpu_err *e = conf_read(log, &text);
	char *line = text ? strstr(text, ": error: ") : NULL;

	if (e || !line)
		return err_new("a private vgpud could not be started");
	line += strlen(": error: ");
	line[strcspn(line, "\n")] = 0;
	return err_new("a private vgpud could not be started: %s", line);
}

static struct vgpu_err *wait_ready(struct private_vgpud *p, int notify, const char *log)
{
	cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct pollfd f[2] = {{.fd = notify, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	char word[32] = "";
	int n;

	do
		n = poll(f, 2, START_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_new("a private vgpud was not ready within %d s", START_MS / 1000);
	if (f[0].revents && recv(notify, word, sizeof(word) - 1, 0) > 0 && !strncmp(word, "READY=1", 7))
		return NULL;
	return last_words(log);
}

static struct vgpu_err *register_tenant(const struct private_vgpud *p, const char *tenant)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cleanup_mem char *line = NULL;
	struct vgpu_err *e = NULL;
	json_t *q = json_pack("{s:s, s:s}", "cmd", "register-vm", "name", tenant), *r = NULL;
	struct buf in;
	long n = 1;

	buf_init(&in, 64u << 10);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control.sock", p->run_dir);
	line = json_dumps(q, JSON_COMPACT);
	if (fd < 0 || !line || connect(fd, (struct sockaddr *)&a, sizeof(a)) || dprintf(fd, "%s\n", line) < 0)
		e = err_sys(errno, "%s", a.sun_path);
	while (!e && n > 0 && (!in.len || !memchr(in.data, '\n', in.len)))
		n = buf_read(&in, fd);
	if (!e)
		r = json_loads(in.data ? in.data : "", JSON_DISABLE_EOF_CHECK, NULL);
	if (!e && !json_is_true(json_object_get(r, "ok"))) {
		const char *text = json_string_value(json_object_get(r, "error"));

		e = err_new("tenant \"%s\": %s", tenant, text ? text : "no answer from the private vgpud");
	}
	json_decref(q);
	json_decref(r);
	buf_free(&in);
	return e;
}

struct vgpu_err *private_start(struct private_vgpud *p, const char *tenant)
{
	cleanup_fd int notify = -1;
	char path[PATH_MAX], log[128];
	struct vgpu_err *e = NULL;

	p->pid = 0;
	if (where_is(WHERE_VGPUD, path, sizeof(path)))
		return err_new("vgpud is not installed beside vgpu-run");
	e = make_dir(p);
	if (e)
		return e;
	snprintf(log, sizeof(log), "%s/log", p->dir);
	e = make_notify(p, &notify);
	if (!e) {
		p->pid = fork();
		if (p->pid == 0)
			run_vgpud(p, path, log);
		if (p->pid < 0)
			e = err_sys(errno, "fork");
	}
	if (!e)
		e = wait_ready(p, notify, log);
	if (!e)
		e = register_tenant(p, tenant);
	if (e)
		private_end(p);
	return e;
}

void private_end(struct private_vgpud *p)
{
	if (p->pid > 0) {
		cleanup_fd int pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		struct pollfd f = {.fd = pidfd, .events = POLLIN};

		kill(p->pid, SIGTERM);
		if (poll(&f, 1, END_MS) == 0)
			kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	remove_dir(p->dir);
}

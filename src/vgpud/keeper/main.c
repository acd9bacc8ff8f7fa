/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/keeper/keeper.h"
#include "base/log.h"
#include "base/where.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define OPTIONS_MAX 64

struct arguments {
	struct config_source from;
	const char *options[OPTIONS_MAX];
	bool check, print;
};

static const char usage[] = "usage: vgpud [-n] [-c FILE] [-o KEY=VALUE]... [print-config]\n"
			    "  -c FILE       configuration, default /etc/openvgpu/vgpud.conf\n"
			    "  -n            check the configuration and exit\n"
			    "  -o KEY=VALUE  set one key after the file was read\n"
			    "  -V            print the version\n"
			    "  print-config  print the configuration, every key, and exit\n";

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	int c;

	while ((c = getopt(argc, argv, "c:no:Vh")) != -1) {
		switch (c) {
		case 'c':
			a->from.file = optarg;
			break;
		case 'n':
			a->check = true;
			break;
		case 'o':
			if (a->from.n == OPTIONS_MAX) {
				log_error("more than %d -o options", OPTIONS_MAX);
				return -1;
			}
			a->options[a->from.n++] = optarg;
			break;
		case 'V':
			puts("vgpud " VGPU_VERSION_STRING);
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			return -1;
		}
	}
	a->from.options = a->options;
	if (optind < argc && !strcmp(argv[optind], "print-config")) {
		a->print = true;
		optind++;
	}
	if (optind < argc) {
		fprintf(stderr, "vgpud: unexpected argument \"%s\"\n%s", argv[optind], usage);
		return -1;
	}
	return 0;
}

static struct vgpu_err *make_dir(const char *path, mode_t mode, uint32_t uid, uint32_t gid)
{
	if (mkdir(path, mode) && errno != EEXIST)
		return err_sys(errno, "%s", path);
	if (uid != -1u && chown(path, uid, gid))
		return err_sys(errno, "%s: changing its owner to %u:%u", path, uid, gid);
	return NULL;
}

/* The lock, not the sockets, decides who owns a run directory: it vanishes with its process. */
static struct vgpu_err *take_lock(struct keeper *k)
{
	char path[100], pid[24] = "";
	int n;

	snprintf(path, sizeof(path), "%s/vgpud.lock", k->cfg->run_dir);
	k->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (k->lock_fd < 0)
		return err_sys(errno, "%s", path);
	if (flock(k->lock_fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return err_sys(errno, "%s", path);
		n = (int)pread(k->lock_fd, pid, sizeof(pid) - 1, 0);
		pid[n > 0 ? n : 0] = 0;
		pid[strcspn(pid, "\n")] = 0;
		return err_new("run-dir %s: another vgpud runs there (pid %s): stop it or choose another run-dir",
			       k->cfg->run_dir, pid);
	}
	n = snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(k->lock_fd, 0) || pwrite(k->lock_fd, pid, (size_t)n, 0) != n)
		return err_sys(errno, "%s", path);
	return NULL;
}

static struct vgpu_err *prepare_dirs(struct keeper *k)
{
	const struct vgpud_config *c = k->cfg;
	struct vgpu_err *e;
	char path[100];

	e = make_dir(c->run_dir, 0755, -1u, -1u);
	if (!e && k->lock_fd < 0)
		e = take_lock(k);
	snprintf(path, sizeof(path), "%s/vm", c->run_dir);
	if (!e)
		e = make_dir(path, 0755, -1u, -1u);
	if (!e)
		e = make_dir(c->state_dir, 0700, c->broker_uid, c->broker_gid);
	return e;
}

struct vgpu_err *seal_config(struct keeper *k)
{
	k->cfg->upgrades = k->upgrades;
	k->config_fd = memfd_create("vgpud-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (k->config_fd < 0 || pwrite(k->config_fd, k->cfg, sizeof(*k->cfg), 0) != (ssize_t)sizeof(*k->cfg) ||
	    fcntl(k->config_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return err_sys(errno, "memfd for the configuration");
	return NULL;
}

static struct vgpu_err *make_state(struct keeper *k)
{
	if (k->state_fd >= 0)
		return NULL; /* the former program's */
	k->state_fd = memfd_create("vgpud-state", MFD_CLOEXEC);
	return k->state_fd < 0 ? err_sys(errno, "memfd for the state") : NULL;
}

static void on_signal(struct loop_io *io, uint32_t events)
{
	struct signalfd_siginfo si;
	struct keeper *k = io->arg;

	if (read(io->fd, &si, sizeof(si)) != sizeof(si))
		return;
	log_info("signal %u: ending", si.ssi_signo);
	k->loop.stop = true;
}

static void on_restart(struct loop_io *io, uint32_t events)
{
	struct keeper *k = io->arg;
	cleanup_err struct vgpu_err *e = NULL;

	loop_timer_set(io, 0);
	e = link_start(k);
	if (e) {
		log_error("%s", e->text);
		k->exit_status = 1;
		k->loop.stop = true;
	}
}

static struct vgpu_err *start_loop(struct keeper *k)
{
	sigset_t set;
	int fd, rc;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	rc = fd < 0 ? -errno : loop_init(&k->loop);
	if (!rc)
		rc = loop_add(&k->loop, &k->signal_io, fd, EPOLLIN, on_signal, k);
	if (!rc)
		rc = loop_timer_init(&k->loop, &k->restart_io, on_restart, k);
	if (!rc)
		rc = listeners_init(k);
	if (!rc)
		rc = upgrade_init(k);
	return rc ? err_sys(-rc, "event loop") : NULL;
}

/* 67 descriptors per VM here and as many in the broker. */
static void raise_fd_limit(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void end_everything(struct keeper *k)
{
	char path[100];

	link_end(k);
	children_end(k);
	list_for_each(n, &k->conns)
		conn_close(list_entry(n, struct conn, node));
	list_for_each(n, &k->listeners)
		listener_close(list_entry(n, struct listener, node));
	if (k->control_fd >= 0) {
		snprintf(path, sizeof(path), "%s/control.sock", k->cfg->run_dir);
		unlink(path);
	}
	if (k->loop.epfd > 0)
		loop_fini(&k->loop);
}

/* The file is held, not its name: until this program is replaced, what it starts is of its own version. */
static struct vgpu_err *open_program(enum where_what what, const char *name, int *fd)
{
	char path[PATH_MAX];

	if (where_is(what, path, sizeof(path)))
		return err_new("%s is not installed beside vgpud", name);
	*fd = open(path, O_PATH | O_CLOEXEC);
	return *fd < 0 ? err_sys(errno, "%s", path) : NULL;
}

static struct vgpu_err *find_programs(struct keeper *k)
{
	ssize_t n = readlink("/proc/self/exe", k->own_path, sizeof(k->own_path) - 1);
	struct vgpu_err *e = n < 0 ? err_sys(errno, "/proc/self/exe") : NULL;

	k->own_path[n > 0 ? n : 0] = 0;
	if (!e)
		e = open_program(WHERE_BROKER, "vgpu-broker", &k->broker_fd);
	return e ? e : open_program(WHERE_EXECUTOR, "vgpu-executor", &k->executor_fd);
}

static struct vgpu_err *start(struct keeper *k, bool take)
{
	struct vgpu_err *e = find_programs(k);

	raise_fd_limit();
	if (!e && take)
		e = upgrade_take(k);
	if (!e)
		e = prepare_dirs(k);
	if (!e)
		e = seal_config(k);
	if (!e)
		e = make_state(k);
	if (!e)
		e = start_loop(k);
	if (!e && take)
		e = upgrade_watch(k);
	if (!e)
		e = link_start(k);
	return e;
}

int main(int argc, char **argv)
{
	static struct vgpud_config cfg;
	static struct arguments a;
	static struct keeper k = {.cfg = &cfg, .from = &a.from, .config_fd = -1, .broker_fd = -1, .executor_fd = -1, .state_fd = -1, .lock_fd = -1, .control_fd = -1, .link.fd = -1,
				  .reserved.overhead_max = IPC_OVERHEAD_ANY};
	const enum upgrade_role role = upgrade_role();
	cleanup_err struct vgpu_err *e = NULL;

	log_init("vgpud", LOG_L_INFO);
	k.argv = argv;
	if (parse_arguments(argc, argv, &a))
		return 2;
	list_init(&k.listeners);
	list_init(&k.conns);
	list_init(&k.children);
	config_defaults(&cfg);
	if (role == UPGRADE_CHECK)
		return upgrade_check(&k);
	e = config_load(&cfg, &a.from);
	if (!e && a.print)
		return conf_print(stdout, config_keys, &cfg) ? 1 : 0;
	if (!e) {
		log_set_level(cfg.log_level);
		e = config_resolve(&cfg, -1);
	}
	if (!e && a.check) {
		puts("configuration OK");
		return 0;
	}
	if (!e)
		e = start(&k, role == UPGRADE_TAKE);
	if (e) {
		log_error("%s", e->text);
		k.exit_status = 1;
	} else {
		loop_run(&k.loop);
	}
	end_everything(&k);
	return k.exit_status;
}

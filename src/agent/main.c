/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-agent: options, user, start, end; see agent.h. */
#include "agent/agent.h"
#include "agent/audit.h"
#include "agent/change.h"
#include "agent/clients.h"
#include "agent/keys.h"
#include "agent/gpus.h"
#include "base/log.h"
#include "base/notify.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_RUN_DIR "/run/openvgpu"
#define HOSTS_MAX 8u
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct option options[] = {
	{"listen", required_argument, NULL, 'l'},     {"run-dir", required_argument, NULL, 'd'},
	{"read-token-file", required_argument, NULL, 'T'}, {"host", required_argument, NULL, 'n'},
	{"token-file", required_argument, NULL, 't'}, {"tls-certificate", required_argument, NULL, 'c'},
	{"tls-key", required_argument, NULL, 'k'},	      {"tls-client-ca", required_argument, NULL, 'a'},
	{"doctor-dir", required_argument, NULL, 'o'},
	{"user", required_argument, NULL, 'u'},	      {"request-seconds", required_argument, NULL, 'r'},
	{GPUS_CHILD_OPTION, no_argument, NULL, 'G'},
	{"help", no_argument, NULL, 'h'},	      {"version", no_argument, NULL, 'V'},
	{NULL}};

static void print_usage(FILE *out)
{
	fprintf(out, "usage: vgpu-agent [--listen ADDRESS:PORT] [--run-dir DIR] [--user USER]\n"
		     "                  [--token-file FILE] [--read-token-file FILE] [--host NAME]...\n"
		     "                  [--request-seconds N] [--doctor-dir DIR]\n"
		     "                  [--tls-certificate FILE --tls-key FILE [--tls-client-ca FILE]]\n"
		     "  --listen ADDRESS:PORT   default 127.0.0.1:%d; an IPv6 address in brackets\n"
		     "  --run-dir DIR           where vgpud runs (default: $VGPU_RUN_DIR or " DEFAULT_RUN_DIR ")\n"
		     "  --token-file FILE       the bearer token /v1 wants, one line; without it /v1 is closed\n"
		     "  --read-token-file FILE  a token that may look, but not change anything\n"
		     "  --host NAME             a name that clients without a token know this machine by; up to %u\n"
		     "  --user USER             started as root: whom to become; vgpud's own user may change assignments\n"
		     "  --tls-certificate FILE, --tls-key FILE   PEM; https instead of http\n"
		     "  --tls-client-ca FILE    PEM; a client certificate it signed opens /v1 as the token does\n"
		     "  --request-seconds N     what a client may take for a request and its answer, 1 to 3600 (default: %u)\n"
		     "  --doctor-dir DIR        the last audit of vgpu-doctor.timer (default: " AUDIT_DIR ")\n"
		     "  --help, --version\n"
		     "exit status: 0 ended by SIGTERM or SIGINT, 1 could not start, 2 wrong usage\n", AGENT_PORT, HOSTS_MAX, AGENT_REQUEST_TIMEOUT_S);
}

/* 0 to 65535, or -1. */
static long parse_port(const char *text)
{
	size_t n = strspn(text, "0123456789");
	long port = n && n <= 5 && !text[n] ? strtol(text, NULL, 10) : -1;

	return port <= 65535 ? port : -1;
}

/* "127.0.0.1:9842", "[::1]:9842" */
static struct vgpu_err *parse_address(const char *text, struct sockaddr_storage *at, bool *loopback)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	long port = colon ? parse_port(colon + 1) : -1;
	char host[64] = "";

	memset(at, 0, sizeof(*at));
	if (port < 0 || n >= sizeof(host))
		return err_new("--listen: \"%s\" is not ADDRESS:PORT such as 127.0.0.1:%d", text, AGENT_PORT);
	memcpy(host, text, n);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
		return NULL;
	}
	if (n < 2 || host[0] != '[' || host[n - 1] != ']')
		return err_new("--listen: \"%s\" has no numeric address", text);
	host[n - 1] = 0;
	if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
		return err_new("--listen: \"%s\" has no numeric address", text);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	*loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
	return NULL;
}

static struct vgpu_err *parse_seconds(const char *text, unsigned *seconds)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!isdigit((unsigned char)*text) || *end || n < 1 || n > 3600)
		return err_new("--request-seconds: \"%s\" is not a number from 1 to 3600", text);
	*seconds = (unsigned)n;
	return NULL;
}

static struct vgpu_err *become(const char *user)
{
	struct passwd *p = user ? getpwnam(user) : NULL;

	if (geteuid() != 0)
		return user ? err_new("--user: only root can become another user") : NULL;
	if (!user)
		return err_new("not as root: name whom to become, --user openvgpu");
	if (!p || !p->pw_uid)
		return err_new("--user: %s", p ? "root is not a user to become" : "no such user");
	if (initgroups(user, p->pw_gid) || setgid(p->pw_gid) || setuid(p->pw_uid))
		return err_sys(errno, "--user %s", user);
	return NULL;
}

static void reload(const struct key_files *files)
{
	cleanup_err struct vgpu_err *e = keys_load(files);

	if (e)
		log_error("%s; tokens and certificates stay as they were", e->text);
	else
		log_info("tokens and certificates read again");
}

static void run(struct MHD_Daemon *d, const struct key_files *files, const sigset_t *signals)
{
	const union MHD_DaemonInfo *i = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
	int sig;

	log_info("listening, port %u%s", i ? i->port : 0, keys_any() ? "" : ", without a token: /v1 is closed");
	notify_state("READY=1");
	while (!sigwait(signals, &sig) && sig == SIGHUP)
		reload(files);
	notify_state("STOPPING=1");
}

/* NVML's process is started last: what cannot listen has no use for it. */
static int serve(const struct agent *a, const struct key_files *files, const struct sockaddr_storage *at, bool loopback)
{
	struct rlimit fds = {AGENT_CLIENTS_MAX + 100, AGENT_CLIENTS_MAX + 100};
	struct MHD_Daemon *d;
	sigset_t set;
	bool gpus = false;

	setrlimit(RLIMIT_NOFILE, &fds);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	audit_start(a->doctor_dir);
	if (source_start(a) || stream_start(a) || change_start(a) || clients_start(a->request_seconds)) {
		log_error("threads cannot be started: %m");
		return EXIT_FAILED;
	}
	errno = 0;
	d = http_start(a, (const struct sockaddr *)at, loopback);
	if (d)
		gpus = !gpus_start();
	else
		log_error("cannot listen: %s", errno ? strerror(errno) : "libmicrohttpd does not say why");
	if (d)
		run(d, files, &set);
	stream_stop();
	change_stop();
	if (d)
		MHD_stop_daemon(d);
	clients_stop();
	source_stop();
	if (gpus)
		gpus_stop();
	return d ? EXIT_SUCCESS : EXIT_FAILED;
}

/* Words and what they are to be, no file read. */
struct words {
	const char *listen, *request_seconds;
	const char *hosts[HOSTS_MAX + 1];
	unsigned n;
};

static struct vgpu_err *start(struct agent *a, const struct key_files *files, const struct words *w, struct sockaddr_storage *at, bool *loopback)
{
	char standard[32];
	struct vgpu_err *e;

	snprintf(standard, sizeof(standard), "127.0.0.1:%d", AGENT_PORT);
	e = parse_address(w->listen ? w->listen : standard, at, loopback);
	if (!e && w->request_seconds)
		e = parse_seconds(w->request_seconds, &a->request_seconds);
	if (!e)
		e = keys_load(files);
	if (!e)
		e = become(files->user);
	if (!e && !*loopback && !a->tls && (files->token || files->read_token))
		log_warning("tokens cross the network as they are: use --tls-certificate, or listen on the loopback behind a proxy that does");
	return e;
}

static bool add_host(struct words *w, const char *name)
{
	if (w->n == HOSTS_MAX) {
		fprintf(stderr, "vgpu-agent: --host: at most %u\n", HOSTS_MAX);
		return false;
	}
	w->hosts[w->n++] = name;
	return true;
}

int main(int argc, char **argv)
{
	struct agent a = {.run_dir = getenv("VGPU_RUN_DIR"), .doctor_dir = AUDIT_DIR, .request_seconds = AGENT_REQUEST_TIMEOUT_S};
	struct key_files files = {0};
	struct words w = {0};
	struct sockaddr_storage at;
	struct vgpu_err *e;
	bool loopback = false;
	int opt, rc = EXIT_FAILED;

	log_init("vgpu-agent", LOG_L_INFO);
	/* Pages of hundreds of KiB are replaced once a second, by several threads: each in a mapping of its own, all else
	 * in one heap, or every thread's keeps the largest there ever was. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 65536);
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'l': w.listen = optarg; break;
		case 'd': a.run_dir = optarg; break;
		case 't': files.token = optarg; break;
		case 'T': files.read_token = optarg; break;
		case 'c': files.certificate = optarg; break;
		case 'k': files.key = optarg; break;
		case 'a': files.client_ca = optarg; break;
		case 'o': a.doctor_dir = optarg; break;
		case 'u': files.user = optarg; break;
		case 'r': w.request_seconds = optarg; break;
		case 'n':
			if (!add_host(&w, optarg))
				return EXIT_USAGE;
			break;
		case 'G': gpus_child();
		case 'h': print_usage(stdout); return 0;
		case 'V': puts("vgpu-agent " VGPU_VERSION_STRING); return 0;
		default: print_usage(stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc || !files.certificate != !files.key || (files.client_ca && !files.certificate)) {
		fprintf(stderr, "vgpu-agent: %s\n", optind < argc ? "no arguments are expected" : "--tls-certificate and --tls-key go together, --tls-client-ca with both");
		return EXIT_USAGE;
	}
	if (!a.run_dir || !*a.run_dir)
		a.run_dir = DEFAULT_RUN_DIR;
	a.tls = files.certificate;
	a.client_certificates = files.client_ca;
	a.hosts = w.hosts;
	e = start(&a, &files, &w, &at, &loopback);
	files.user = NULL; /* that is who we are by now */
	if (e)
		log_error("%s", e->text);
	else
		rc = serve(&a, &files, &at, loopback);
	free(e);
	keys_free();
	return rc;
}

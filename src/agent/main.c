/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-agent: options, user, start, end; see agent.h. */
#include "agent/agent.h"
#include "agent/audit.h"
#include "agent/change.h"
#include "agent/clients.h"
#include "agent/request.h"
#include "agent/gpus.h"
#include "base/log.h"
#include "base/notify.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_RUN_DIR "/run/openvgpu"
#define FILE_MAX_BYTES 65536
enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct option options[] = {
	{"listen", required_argument, NULL, 'l'},     {"run-dir", required_argument, NULL, 'd'},
	{"token-file", required_argument, NULL, 't'}, {"tls-certificate", required_argument, NULL, 'c'},
	{"tls-key", required_argument, NULL, 'k'},	      {"tls-client-ca", required_argument, NULL, 'a'},
	{"doctor-dir", required_argument, NULL, 'o'},
	{"user", required_argument, NULL, 'u'},	      {"request-seconds", required_argument, NULL, 'r'},
	{GPUS_CHILD_OPTION, no_argument, NULL, 'G'},
	{"help", no_argument, NULL, 'h'},	      {"version", no_argument, NULL, 'V'},
	{NULL}};

static void print_usage(FILE *out)
{
	fprintf(out, "usage: vgpu-agent [--listen ADDRESS:PORT] [--run-dir DIR] [--token-file FILE] [--user USER]\n"
		     "                  [--request-seconds N] [--doctor-dir DIR]\n"
		     "                  [--tls-certificate FILE --tls-key FILE [--tls-client-ca FILE]]\n"
		     "  --listen ADDRESS:PORT   default 127.0.0.1:%d; an IPv6 address in brackets\n"
		     "  --run-dir DIR           where vgpud runs (default: $VGPU_RUN_DIR or " DEFAULT_RUN_DIR ")\n"
		     "  --token-file FILE       the bearer token /v1 wants, one line; without it /v1 is closed\n"
		     "  --user USER             started as root: whom to become; vgpud's own user may change assignments\n"
		     "  --tls-certificate FILE, --tls-key FILE   PEM; https instead of http\n"
		     "  --tls-client-ca FILE    PEM; a client certificate it signed opens /v1 as the token does\n"
		     "  --request-seconds N     what a client may take for a request and its answer, 1 to 3600 (default: %u)\n"
		     "  --doctor-dir DIR        the last audit of vgpu-doctor.timer (default: " AUDIT_DIR ")\n"
		     "  --help, --version\n"
		     "exit status: 0 ended by SIGTERM or SIGINT, 1 could not start, 2 wrong usage\n", AGENT_PORT, AGENT_REQUEST_TIMEOUT_S);
}

static struct vgpu_err *read_file(const char *path, bool secret, char **text)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat s;
	ssize_t n;

	if (fd < 0 || fstat(fd, &s))
		return err_sys(errno, "%s", path);
	if (!S_ISREG(s.st_mode))
		return err_new("%s: not a file", path);
	if (secret && s.st_mode & 077)
		return err_new("%s: others may read it: chmod 600", path);
	*text = calloc(1, FILE_MAX_BYTES + 1);
	n = *text ? read(fd, *text, FILE_MAX_BYTES) : -1;
	if (n < 0)
		return err_sys(errno, "%s", path);
	return n == FILE_MAX_BYTES ? err_new("%s: longer than %d bytes", path, FILE_MAX_BYTES) : NULL;
}

static struct vgpu_err *read_token(const char *path, char **token)
{
	struct vgpu_err *e = read_file(path, true, token);

	return e ? e : request_token_file(*token, path);
}

/* "127.0.0.1:9842", "[::1]:9842" */
static struct vgpu_err *parse_address(const char *text, struct sockaddr_storage *at, bool *loopback)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;
	const char *colon = strrchr(text, ':');
	char host[64] = "", *end;
	unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;

	memset(at, 0, sizeof(*at));
	if (!colon || !colon[1] || *end || port > 65535 || colon - text >= (long)sizeof(host))
		return err_new("--listen: \"%s\" is not ADDRESS:PORT such as 127.0.0.1:%d", text, AGENT_PORT);
	memcpy(host, text, (size_t)(colon - text));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		*loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
		return NULL;
	}
	host[strcspn(host, "]")] = 0;
	if (host[0] != '[' || inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
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

static int serve(const struct agent *a, const struct sockaddr_storage *at, bool loopback)
{
	struct rlimit files = {AGENT_CLIENTS_MAX + 100, AGENT_CLIENTS_MAX + 100};
	struct MHD_Daemon *d;
	sigset_t set;
	int sig;

	setrlimit(RLIMIT_NOFILE, &files);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	audit_start(a->doctor_dir);
	if (gpus_start() || source_start(a) || stream_start(a) || change_start(a) || clients_start(a->request_seconds)) {
		log_error("threads cannot be started: %m");
		return EXIT_FAILED;
	}
	d = http_start(a, (const struct sockaddr *)at, loopback);
	if (d) {
		const union MHD_DaemonInfo *i = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);

		log_info("listening, port %u%s", i ? i->port : 0, a->token || a->client_ca ? "" : ", without a token: /v1 is closed");
		notify_state("READY=1");
		sigwait(&set, &sig);
	} else {
		log_error("cannot listen: %s", errno ? strerror(errno) : "TLS certificate, key or client CA not usable");
	}
	stream_stop();
	change_stop();
	if (d)
		MHD_stop_daemon(d);
	clients_stop();
	source_stop();
	gpus_stop();
	return d ? EXIT_SUCCESS : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct agent a = {.run_dir = getenv("VGPU_RUN_DIR"), .doctor_dir = AUDIT_DIR, .request_seconds = AGENT_REQUEST_TIMEOUT_S};
	const char *listen = NULL, *token = NULL, *cert = NULL, *key = NULL, *ca = NULL, *user = NULL, *request_seconds = NULL;
	struct sockaddr_storage at;
	struct vgpu_err *e = NULL;
	char standard[32];
	bool loopback = false;
	int opt, rc = EXIT_FAILED;

	log_init("vgpu-agent", LOG_L_INFO);
	/* Pages of hundreds of KiB are replaced once a second, by several threads: each in a mapping of its own, all else
	 * in one heap, or every thread's keeps the largest there ever was. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 65536);
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'l': listen = optarg; break;
		case 'd': a.run_dir = optarg; break;
		case 't': token = optarg; break;
		case 'c': cert = optarg; break;
		case 'k': key = optarg; break;
		case 'a': ca = optarg; break;
		case 'o': a.doctor_dir = optarg; break;
		case 'u': user = optarg; break;
		case 'r': request_seconds = optarg; break;
		case 'G': gpus_child();
		case 'h': print_usage(stdout); return 0;
		case 'V': puts("vgpu-agent " VGPU_VERSION_STRING); return 0;
		default: print_usage(stderr); return EXIT_USAGE;
		}
	}
	if (optind < argc || !cert != !key || (ca && !cert)) {
		fprintf(stderr, "vgpu-agent: %s\n", optind < argc ? "no arguments are expected" : "--tls-certificate and --tls-key go together, --tls-client-ca with both");
		return EXIT_USAGE;
	}
	if (!a.run_dir || !*a.run_dir)
		a.run_dir = DEFAULT_RUN_DIR;
	snprintf(standard, sizeof(standard), "127.0.0.1:%d", AGENT_PORT);
	e = parse_address(listen ? listen : standard, &at, &loopback);
	if (!e && request_seconds)
		e = parse_seconds(request_seconds, &a.request_seconds);
	if (!e && token)
		e = read_token(token, &a.token);
	if (!e && cert)
		e = read_file(cert, false, &a.certificate);
	if (!e && key)
		e = read_file(key, true, &a.key);
	if (!e && ca)
		e = read_file(ca, false, &a.client_ca);
	if (!e)
		e = become(user);
	if (e)
		log_error("%s", e->text);
	else
		rc = serve(&a, &at, loopback);
	free(e);
	free(a.token);
	free(a.certificate);
	free(a.key);
	free(a.client_ca);
	return rc;
}

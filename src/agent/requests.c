/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/requests.h"
#include "base/log.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define STATUS_MAX 600u
#define REFUSED_PERIOD_S 10
#define SHOWN 64 /* bytes of a client's text in the log */

static _Atomic uint64_t answered[STATUS_MAX];

static struct {
	pthread_mutex_t lock;
	time_t since; /* monotonic: of the last line */
	unsigned more; /* refused since */
} refused = {.lock = PTHREAD_MUTEX_INITIALIZER, .since = -REFUSED_PERIOD_S};

void requests_count(unsigned status)
{
	if (status < STATUS_MAX)
		atomic_fetch_add(&answered[status], 1);
}

void requests_metrics(FILE *out, bool open)
{
	const char *total = open ? "" : "_total";

	fprintf(out, "# TYPE openvgpu_agent_requests%s counter\n# HELP openvgpu_agent_requests%s Requests answered, by HTTP's status\n",
		total, total);
	for (unsigned i = 0; i < STATUS_MAX; i++) {
		uint64_t n = atomic_load(&answered[i]);

		if (n)
			fprintf(out, "openvgpu_agent_requests_total{code=\"%u\"} %llu\n", i, (unsigned long long)n);
	}
}

static const char *peer(struct MHD_Connection *c, char text[INET6_ADDRSTRLEN])
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = i ? i->client_addr : NULL;
	const void *address = !a ? NULL : a->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
								 : (const void *)&((const struct sockaddr_in *)a)->sin_addr;

	return address && inet_ntop(a->sa_family, address, text, INET6_ADDRSTRLEN) ? text : "?";
}

/* What a client wrote is nothing for a log as it is. */
static const char *plain(const char *s, char out[SHOWN])
{
	size_t n = strnlen(s, SHOWN - 1);

	for (size_t i = 0; i < n; i++)
		out[i] = s[i] > ' ' && s[i] <= '~' ? s[i] : '?';
	out[n] = 0;
	return out;
}

void requests_refused(struct MHD_Connection *c, const char *who, const char *method, const char *path)
{
	char at[INET6_ADDRSTRLEN], m[SHOWN], p[SHOWN], others[64] = "";
	struct timespec now;
	bool tell;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&refused.lock);
	tell = now.tv_sec - refused.since >= REFUSED_PERIOD_S;
	if (tell && refused.more)
		snprintf(others, sizeof(others), "; %u others since the last such line", refused.more);
	refused.more = tell ? 0 : refused.more + 1;
	if (tell)
		refused.since = now.tv_sec;
	pthread_mutex_unlock(&refused.lock);
	if (tell)
		log_warning("refused: %s %s from %s: %s%s", plain(method, m), plain(path, p), peer(c, at), *who ? who : "no token", others);
}

void requests_changed(struct MHD_Connection *c, const char *who, const char *method, const char *name, unsigned status)
{
	char at[INET6_ADDRSTRLEN], n[SHOWN];

	log_info("%s of VM %s from %s by %s: %u", method, plain(name, n), peer(c, at), who, status);
}

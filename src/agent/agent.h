/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-agent: vgpud's control socket for those who speak HTTP; see vgpu-agent(8).
 *
 * Threads: one asks vgpud once a second and renders every page there is (source.c); one waits for vgpud's
 * events (stream.c); one for what NVML says of the GPUs (gpus.c); one ends connections that take too long (clients.c);
 * libmicrohttpd's answer requests from what is rendered (http.c). So the number of HTTP clients, and how slow they are,
 * is nothing vgpud notices. Only a change goes to vgpud when it is asked, by a thread of its own (change.h).
 */
#ifndef VGPU_AGENT_H
#define VGPU_AGENT_H
#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

#define AGENT_PORT 9842
#define AGENT_PERIOD_MS 1000	    /* between two looks at vgpud */
#define AGENT_PATIENCE_MS 2000	    /* for one answer of vgpud */
#define AGENT_CHANGES_MAX 16u	    /* that wait for their turn */
#define AGENT_LOOK_MS 4000	    /* for all of a look: a page is never more than a period older */
#define AGENT_CLIENTS_MAX 1100u	    /* connections at once */
#define AGENT_STREAMS_MAX 64u	    /* of them /v1/events */
#define AGENT_CLIENT_TIMEOUT_S 15u  /* without a byte */
#define AGENT_REQUEST_TIMEOUT_S 30u /* for a request and its answer */
#define AGENT_CLIENT_MEMORY 16384u  /* bytes: request line and headers must fit */
#define AGENT_BODY_MAX 4096u	    /* bytes */

struct agent {
	const char *run_dir;
	const char *doctor_dir; /* where vgpu-doctor's timer leaves doctor.prom; see audit.h */
	bool tls, client_certificates; /* what of keys.h there is */
	const char *const *hosts; /* names, beyond localhost, that clients know this machine by; up to NULL */
	unsigned request_seconds; /* see clients.h */
};

/* What a page needs of vgpud; all of it is of one moment. */
struct state {
	json_t *vms, *status, *health, *connections, *histograms; /* NULL while vgpud does not answer */
	char error[sizeof(struct vgpu_err)]; /* why not */
	double seconds;	 /* the look took */
	uint64_t at_ms;	 /* of the last that succeeded, since 1970; 0: none */
	uint64_t looks, failures;
};

/* pages.c: each writes one page into a malloc()ed text. */
typedef char *render_fn(const struct state *s, size_t *len);
render_fn page_openmetrics, page_text_metrics, page_health, page_capacity, page_vms, page_usage, page_connections,
	page_assignments, page_gpus;

/* source.c */
enum page { PAGE_OPENMETRICS, PAGE_TEXT_METRICS, PAGE_HEALTH, PAGE_CAPACITY, PAGE_VMS, PAGE_USAGE, PAGE_CONNECTIONS,
	    PAGE_ASSIGNMENTS, PAGE_GPUS, PAGES };

struct text; /* a rendered page: shared, never changed, counted */
int source_start(const struct agent *a);
void source_stop(void);
struct text *source_page(enum page p); /* with a reference; NULL: not rendered yet */
struct text *source_vm(const char *name); /* NULL: no such VM */
bool source_answers(void);		/* did vgpud answer the last time? */
/* Something was changed: until the pages tell it, or a look fails, or AGENT_PATIENCE_MS. */
void source_look_again(void);
const char *text_data(const struct text *t, size_t *len);
void text_put(struct text *t);

/* stream.c: /v1/events */
int stream_start(const struct agent *a);
void stream_stop(void);
struct MHD_Response *stream_open(struct MHD_Connection *c, const char *last_id); /* NULL: too many of them */

/* http.c */
struct MHD_Daemon *http_start(const struct agent *a, const struct sockaddr *at, bool loopback);
#endif

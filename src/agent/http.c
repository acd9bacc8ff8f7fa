/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: one table of routes, from which the OpenAPI document is made as well (openapi.h). /metrics and /healthz are open on
 * loopback; everything else wants the bearer token or a client certificate of the configured authority.
 */
#include "agent/agent.h"
#include "agent/change.h"
#include "agent/clients.h"
#include "agent/keys.h"
#include "agent/openapi.h"
#include "agent/requests.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4u
#define DRAIN_MAX (1u << 20) /* bytes of a body that is too long: read to its end, or the answer may be lost with the rest */
/* Nothing that is broken: browsers and Prometheus have 1.2 since 2014. */
#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define JSON_TYPE "application/json"
#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct request {
	char body[AGENT_BODY_MAX + 1];
	size_t len;	 /* of it; too_long: of all that came */
	bool too_long;
	bool head;
	const char *method;
	char who[KEYS_WHO]; /* the credential's name */
	struct change *change; /* NULL: none was asked for */
};

struct http {
	const struct agent *agent;
	bool loopback; /* we listen there only */
};

struct route;
typedef enum MHD_Result answer_fn(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				  struct request *q);

struct route {
	struct openapi_path at; /* at.at.method NULL: end */
	answer_fn *answer;
	enum page page;
};

/* ---- answers ---- */

static enum MHD_Result send_response(struct MHD_Connection *c, unsigned status, const char *type, struct MHD_Response *r)
{
	enum MHD_Result rc;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"vgpu-agent\"");
	rc = MHD_queue_response(c, status, r);
	if (rc == MHD_YES)
		requests_count(status);
	MHD_destroy_response(r);
	return rc;
}

/* Takes the reference. */
static enum MHD_Result send_json(struct MHD_Connection *c, unsigned status, json_t *o)
{
	char *text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;

	json_decref(o);
	return text ? send_response(c, status, JSON_TYPE, MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE))
		    : MHD_NO;
}

static enum MHD_Result send_error(struct MHD_Connection *c, unsigned status, const char *text)
{
	return send_json(c, status, json_pack("{s:s}", "error", text));
}

static ssize_t text_part(void *cls, uint64_t pos, char *buf, size_t max)
{
	size_t len, n;
	const char *data = text_data(cls, &len);

	n = pos < len ? len - pos : 0;
	n = n < max ? n : max;
	memcpy(buf, data + pos, n);
	return n ? (ssize_t)n : MHD_CONTENT_READER_END_OF_STREAM;
}

static void text_end(void *cls)
{
	text_put(cls);
}

/* Takes the reference. */
static enum MHD_Result send_text(struct MHD_Connection *c, unsigned status, const char *type, struct text *t)
{
	size_t len;

	text_data(t, &len);
	return send_response(c, status, type, MHD_create_response_from_callback(len, 32768, text_part, t, text_end));
}

static enum MHD_Result answer_page(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				   struct request *q)
{
	struct text *t = source_page(r->page);

	return t ? send_text(c, MHD_HTTP_OK, JSON_TYPE, t)
		 : send_error(c, MHD_HTTP_SERVICE_UNAVAILABLE, "vgpud does not answer: see /healthz");
}

static enum MHD_Result answer_health(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				     struct request *q)
{
	struct text *t = source_page(PAGE_HEALTH);

	return t ? send_text(c, source_answers() ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, JSON_TYPE, t) : MHD_NO;
}

static enum MHD_Result answer_metrics(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				      struct request *q)
{
	const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	bool open = accept && strstr(accept, "application/openmetrics-text");
	struct text *t = source_page(open ? PAGE_OPENMETRICS : PAGE_TEXT_METRICS);

	return t ? send_text(c, MHD_HTTP_OK, open ? OPENMETRICS_TYPE : METRICS_TYPE, t) : MHD_NO;
}

static enum MHD_Result answer_vm(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				 struct request *q)
{
	struct text *t = source_vm(rest);

	if (t)
		return send_text(c, MHD_HTTP_OK, JSON_TYPE, t);
	return source_answers() ? send_error(c, MHD_HTTP_NOT_FOUND, "no such VM")
				: send_error(c, MHD_HTTP_SERVICE_UNAVAILABLE, "vgpud does not answer: see /healthz");
}

/* Called again when it has ended. */
static enum MHD_Result answer_change(struct MHD_Connection *c, struct request *q, enum change_kind kind, json_t *query)
{
	json_t *answer;
	unsigned status = q->change ? change_ended(q->change, &answer) : 0;

	if (status) {
		requests_changed(c, q->who, kind == CHANGE_CREATE ? "creation" : "removal", change_name(q->change), status);
		return send_json(c, status, answer);
	}
	if (!q->change)
		q->change = change_new(c, kind, query);
	return q->change ? MHD_YES : send_error(c, MHD_HTTP_SERVICE_UNAVAILABLE, "as many changes wait for vgpud as may; nothing was changed");
}

static enum MHD_Result answer_create(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				     struct request *q)
{
	const char *type = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
	json_t *o = NULL;
	cleanup_err struct vgpu_err *e = q->change || !request_json(type) ? NULL : request_assignment(q->body, q->len, &o);

	if (!q->change && !request_json(type))
		return send_error(c, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "Content-Type: must be application/json");
	return e ? send_error(c, MHD_HTTP_BAD_REQUEST, e->text) : answer_change(c, q, CHANGE_CREATE, o);
}

static enum MHD_Result answer_destroy(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				      struct request *q)
{
	json_t *o = q->change ? NULL : json_pack("{s:s, s:s}", "cmd", "remove-vm", "name", rest);

	return !o && !q->change ? send_error(c, MHD_HTTP_BAD_REQUEST, "the name is not UTF-8")
				: answer_change(c, q, CHANGE_DESTROY, o);
}

static enum MHD_Result answer_events(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				     struct request *q)
{
	const char *last = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Last-Event-ID");
	struct MHD_Response *s;

	if (q->head)
		return send_response(c, MHD_HTTP_OK, "text/event-stream", MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
	s = stream_open(c, last);
	if (s)
		clients_unlimited(c);
	return s ? send_response(c, MHD_HTTP_OK, "text/event-stream", s)
		 : send_error(c, MHD_HTTP_SERVICE_UNAVAILABLE, "as many event streams are open as may be");
}

static answer_fn answer_openapi;

#define JSON(schema) JSON_TYPE, schema

static const struct route routes[] = {
	{{{"GET", "/metrics"}, "metrics: OpenMetrics if accepted, Prometheus' text otherwise", "text/plain", NULL, {200}, true}, answer_metrics},
	{{{"GET", "/healthz"}, "ok, degraded or down, and why; 503 when vgpud does not answer", JSON("Health"), {200, 503}, true}, answer_health},
	{{{"GET", "/v1/openapi.json"}, "this document", JSON("Document"), {200}}, answer_openapi},
	{{{"GET", "/v1/capacity"}, "the device, its memory, what is left of it", JSON("Capacity"), {200, 503}}, answer_page, PAGE_CAPACITY},
	{{{"GET", "/v1/gpus"}, "health of the machine's GPUs as NVML tells it; what it does not tell is left out", JSON("Gpus"), {200}}, answer_page, PAGE_GPUS},
	{{{"GET", "/v1/vms"}, "everything about every VM", JSON("Vms"), {200, 503}}, answer_page, PAGE_VMS},
	{{{"GET", "/v1/vms/"}, "everything about one VM", JSON("Vm"), {200, 404, 503}}, answer_vm},
	{{{"GET", "/v1/usage"}, "what each VM has used", JSON("Usage"), {200, 503}}, answer_page, PAGE_USAGE},
	{{{"GET", "/v1/connections"}, "who is connected", JSON("Connections"), {200, 503}}, answer_page, PAGE_CONNECTIONS},
	{{{"GET", "/v1/assignments"}, "VMs that may use the device", JSON("Assignments"), {200, 503}}, answer_page, PAGE_ASSIGNMENTS},
	{{{"POST", "/v1/assignments"}, "let a VM use it: {name, priority, weight, quota, ...} as of vgpu-admin register-vm; 409: it has it, or no room",
	  JSON("Vm"), {201, 400, 403, 409, 413, 415, 503}}, answer_create},
	{{{"DELETE", "/v1/assignments/"}, "take it from a VM that is not connected", JSON("Nothing"), {200, 400, 403, 404, 409, 503}}, answer_destroy},
	{{{"GET", "/v1/events"}, "server-sent events; Last-Event-ID continues", "text/event-stream", NULL, {200, 503}}, answer_events},
	{{{NULL}}},
};
#define ROUTES (sizeof(routes) / sizeof(*routes) - 1)

static enum MHD_Result answer_openapi(struct http *h, struct MHD_Connection *c, const struct route *r, const char *rest,
				      struct request *q)
{
	return send_json(c, MHD_HTTP_OK, openapi_document(routes, sizeof(*routes), ROUTES, h->loopback));
}

/* ---- who may ---- */

static bool is_change(const char *method)
{
	return strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD);
}

static enum MHD_Result refuse(const struct http *h, struct MHD_Connection *c)
{
	const struct agent *a = h->agent;

	return send_error(c, MHD_HTTP_UNAUTHORIZED,
			  !keys_any()		   ? "closed: vgpu-agent was started without --token-file, --read-token-file or --tls-client-ca"
			  : a->client_certificates ? "a valid bearer token or client certificate is needed"
						   : "a valid bearer token is needed");
}

/* What a browser sends of itself, on behalf of a page of somebody else's, is: no token, perhaps a certificate, a Host that
 * is that page's, and no JSON. */
static enum MHD_Result check(const struct http *h, struct MHD_Connection *c, const struct route *r, struct request *q, const char *url)
{
	const char *given = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	const union MHD_ConnectionInfo *i = h->agent->tls ? MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION) : NULL;
	enum keys_may may = keys_may(given, i ? i->tls_session : NULL, q->who);
	bool open = r && r->at.open && h->loopback;

	if (may == MAY_NOTHING && !open) {
		requests_refused(c, q->who, q->method, url);
		return refuse(h, c);
	}
	if ((may == MAY_NOTHING || !given) && !request_host(host, h->agent->hosts))
		return send_error(c, MHD_HTTP_MISDIRECTED_REQUEST, "Host: neither an address nor localhost nor a --host of vgpu-agent; or send a token");
	if (r && is_change(q->method) && may != MAY_CHANGE) {
		requests_refused(c, q->who, q->method, url);
		return send_error(c, MHD_HTTP_FORBIDDEN, "this token may look, but not change anything");
	}
	if (length && strtoull(length, NULL, 10) > DRAIN_MAX)
		return send_error(c, MHD_HTTP_CONTENT_TOO_LARGE, "the body is longer than 4096 bytes");
	return MHD_YES;
}

/* ---- requests ---- */

static enum MHD_Result refuse_method(struct MHD_Connection *c, const char *url)
{
	static const char text[] = "{\"error\": \"not with this method: see /v1/openapi.json\"}";
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
	char allow[64];

	request_allow(routes, sizeof(*routes), url, allow, sizeof(allow));
	if (r)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allow);
	return send_response(c, MHD_HTTP_METHOD_NOT_ALLOWED, JSON_TYPE, r);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *data, size_t *len, void **con_cls)
{
	struct http *h = cls;
	struct request *q = *con_cls;
	const struct route *r;
	const char *rest;
	bool known;
	int at = request_route(routes, sizeof(*routes), method, url, &rest, &known);

	r = at < 0 ? NULL : &routes[at];
	if (!q) {
		*con_cls = q = calloc(1, sizeof(*q));
		if (!q)
			return MHD_NO;
		q->method = method;
		q->head = !strcmp(method, MHD_HTTP_METHOD_HEAD);
		return check(h, c, r, q, url);
	}
	if (*len) {
		q->too_long |= q->len + *len > AGENT_BODY_MAX;
		if (!q->too_long)
			memcpy(q->body + q->len, data, *len);
		q->len += *len;
		*len = 0;
		return q->len < DRAIN_MAX ? MHD_YES : MHD_NO;
	}
	if (q->too_long)
		return send_error(c, MHD_HTTP_CONTENT_TOO_LARGE, "the body is longer than 4096 bytes");
	if (r)
		return r->answer(h, c, r, rest, q);
	return known ? refuse_method(c, url)
		     : send_error(c, MHD_HTTP_NOT_FOUND, "no such path: see /v1/openapi.json");
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode code)
{
	if (*con_cls)
		change_free(((struct request *)*con_cls)->change);
	free(*con_cls);
	*con_cls = NULL;
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		clients_again(c);
}

static size_t on_unescape(void *cls, struct MHD_Connection *c, char *s)
{
	return request_unescape(s);
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	log_debug("%s", text); /* what a client did wrong is the client's */
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
	const struct http *h = cls;
	const union MHD_ConnectionInfo *i = h->agent->client_certificates && code == MHD_CONNECTION_NOTIFY_STARTED
		? MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION) : NULL;

	if (i && i->tls_session)
		keys_ask_client(i->tls_session);
	clients_on_connection(NULL, c, context, code);
}

struct MHD_Daemon *http_start(const struct agent *a, const struct sockaddr *at, bool loopback)
{
	static struct http h;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
			 (at->sa_family == AF_INET6 ? MHD_USE_IPv6 : 0) | (a->tls ? MHD_USE_TLS : 0);
	struct MHD_OptionItem tls[] = {{a->tls ? MHD_OPTION_HTTPS_CERT_CALLBACK2 : MHD_OPTION_END, 0, (void *)keys_certificate},
				       {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)TLS_VERSIONS},
				       {MHD_OPTION_END, 0, NULL}};

	h = (struct http){a, loopback};
	return MHD_start_daemon(flags, 0, NULL, NULL, on_request, &h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
				MHD_OPTION_SOCK_ADDR, at, MHD_OPTION_CONNECTION_LIMIT, AGENT_CLIENTS_MAX,
				MHD_OPTION_CONNECTION_TIMEOUT, AGENT_CLIENT_TIMEOUT_S,
				MHD_OPTION_PER_IP_CONNECTION_LIMIT, AGENT_CLIENTS_MAX - AGENT_CLIENTS_MAX / 4, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				(size_t)AGENT_CLIENT_MEMORY, MHD_OPTION_THREAD_POOL_SIZE, THREADS,
				MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
				MHD_OPTION_NOTIFY_CONNECTION, on_connection, &h,
				MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vgpu-agent makes of text it does not trust: method and path, Authorization, body, Last-Event-ID, token file.
 * The first byte says which; the rest is the text.
 */
#include "agent/request.h"
#include "fuzz.h"
#include <strings.h>

static const struct request_path routes[] = {{"GET", "/metrics"}, {"GET", "/v1/vms"}, {"GET", "/v1/vms/"},
	{"GET", "/v1/assignments"}, {"POST", "/v1/assignments"}, {"DELETE", "/v1/assignments/"}, {NULL}};

#define TOKEN "correct-horse-battery-staple"

/* "METHOD /path", the path as it is sent. */
static void route(char *text)
{
	char *url = strchr(text, ' ');
	const char *rest;
	char allow[64];
	bool known;
	size_t before, n;
	int at;

	if (!url)
		return;
	*url++ = 0;
	before = strlen(url);
	n = request_unescape(url);
	MUST(n <= before && strlen(url) == n);
	at = request_route(routes, sizeof(*routes), text, url, &rest, &known);
	MUST(at < 0 || known);
	request_allow(routes, sizeof(*routes), url, allow, sizeof(allow));
	MUST(known == (allow[0] != 0));
	MUST(at < 0 || !strcmp(text, routes[at].method) || (!strcmp(text, "HEAD") && !strcmp(routes[at].method, "GET")));
	MUST(!known || !strchr(rest, '/'));
	if (at < 0)
		return;
	n = strlen(routes[at].path);
	MUST(!strncmp(url, routes[at].path, n) && rest == url + n && (routes[at].path[n - 1] == '/') == (*rest != 0));
}

static void authorization(char *text)
{
	static const char *const names[] = {"node1.example", NULL};

	MUST(request_token(text, TOKEN) == (!strncasecmp(text, "Bearer ", 7) && !strcmp(text + 7, TOKEN)));
	MUST(!request_host(text, names) || strspn(text, "0123456789.:[]abcdefABCDEF") == strlen(text) || strcasestr(text, "localhost") ||
	     strcasestr(text, "node1.example"));
	MUST(!request_json(text) || !strncasecmp(text, "application/json", 16));
	MUST(!request_token(NULL, TOKEN));
}

static void body(const uint8_t *data, size_t len)
{
	json_t *q;
	struct vgpu_err *e = request_assignment((const char *)data, len, &q);

	MUST(!e == (q != NULL));
	if (q) {
		MUST(!strcmp(json_string_value(json_object_get(q, "cmd")), "register-vm"));
		MUST(json_is_string(json_object_get(q, "name")));
	}
	json_decref(q);
	free(e);
}

static void token_file(char *text)
{
	struct vgpu_err *e = request_token_file(text, "token");

	MUST(e ? !strncmp(e->text, "token: ", 7) : strlen(text) >= AGENT_TOKEN_MIN && !strpbrk(text, " \t\r\n"));
	free(e);
}

static void after(char *text)
{
	uint64_t epoch, n;
	bool good = request_after(text, &epoch, &n);

	MUST(good ? epoch && strspn(text, "0123456789-") == strlen(text) : !epoch && !n);
	MUST(!request_after(NULL, &epoch, &n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const texts[])(char *) = {route, authorization, token_file, after};
	unsigned which = len ? data[0] % 5 : 4;
	char *text;

	if (!len)
		return 0;
	if (which == 4) {
		body(data + 1, len - 1);
		return 0;
	}
	text = malloc(len);
	MUST(text);
	memcpy(text, data + 1, len - 1);
	text[len - 1] = 0;
	texts[which](text);
	free(text);
	return 0;
}

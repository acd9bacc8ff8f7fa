/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/request.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool path_fits(const char *path, const char *url)
{
	size_t n = strlen(path);

	if (strncmp(url, path, n))
		return false;
	return path[n - 1] == '/' ? url[n] && !strchr(url + n, '/') : !url[n];
}

int request_route(const void *routes, size_t stride, const char *method, const char *url, const char **rest, bool *known)
{
	const struct request_path *p;
	int found = -1;

	*known = false;
	*rest = "";
	for (int i = 0; p = (const void *)((const char *)routes + (size_t)i * stride), p->method; i++) {
		if (!path_fits(p->path, url))
			continue;
		*known = true;
		*rest = url + strlen(p->path);
		if (!strcmp(method, p->method) || (!strcmp(method, "HEAD") && !strcmp(p->method, "GET")))
			found = i;
	}
	return found;
}

void request_allow(const void *routes, size_t stride, const char *url, char *out, size_t n)
{
	const struct request_path *p;
	size_t at = 0;

	out[0] = 0;
	for (int i = 0; p = (const void *)((const char *)routes + (size_t)i * stride), p->method; i++)
		if (path_fits(p->path, url) && at < n)
			at += (size_t)snprintf(out + at, n - at, "%s%s%s", at ? ", " : "", p->method, strcmp(p->method, "GET") ? "" : ", HEAD");
}

bool request_host(const char *host, const char *const *names)
{
	char name[256], in6[16];
	size_t n = host ? strcspn(host, host[0] == '[' ? "]" : ":") : 0;
	bool six = host && host[0] == '[';
	const char *port;

	if (!host)
		return true; /* HTTP/1.0; a browser sends it */
	if (!n || n >= sizeof(name) || (six && !host[n]))
		return false;
	memcpy(name, host + six, n - six);
	name[n - six] = 0;
	port = host + n + six;
	if (*port && (*port != ':' || port[1 + strspn(port + 1, "0123456789")]))
		return false;
	for (; names && *names && !six; names++)
		if (!strcasecmp(name, *names))
			return true;
	return six ? inet_pton(AF_INET6, name, in6) == 1 : !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, in6) == 1;
}

bool request_json(const char *type)
{
	static const char json[] = "application/json";

	return type && !strncasecmp(type, json, sizeof(json) - 1) && (!type[sizeof(json) - 1] || strchr("; \t", type[sizeof(json) - 1]));
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t request_unescape(char *s)
{
	char *out = s;

	for (const char *in = s; *in;) {
		int high = *in == '%' ? hex(in[1]) : -1, low = high >= 0 ? hex(in[2]) : -1;

		if (low >= 0 && (high || low)) {
			*out++ = (char)(high * 16 + low);
			in += 3;
		} else {
			*out++ = *in++;
		}
	}
	*out = 0;
	return (size_t)(out - s);
}

bool request_token(const char *authorization, const char *token)
{
	const char *given = authorization;
	size_t n = strlen(token), m;
	unsigned char d;

	if (!given || strncasecmp(given, "Bearer ", 7))
		return false;
	given += 7;
	m = strlen(given);
	d = n != m;
	for (size_t i = 0; i < n; i++)
		d |= (unsigned char)(token[i] ^ given[m ? i % m : 0]);
	return d == 0;
}

struct vgpu_err *request_assignment(const char *body, size_t len, json_t **query)
{
	json_error_t where;
	json_t *o = json_loadb(body, len, JSON_REJECT_DUPLICATES, &where);

	*query = NULL;
	if (!json_is_object(o)) {
		json_decref(o);
		return err_new("the body is not a JSON object such as {\"name\": \"vm1\", \"quota\": 1073741824}");
	}
	if (!json_is_string(json_object_get(o, "name"))) {
		json_decref(o);
		return err_new("name: a text is needed");
	}
	json_object_set_new(o, "cmd", json_string("register-vm")); /* whatever "cmd" the client sent */
	*query = o;
	return NULL;
}

/* Past the digits; NULL: none, or too many. */
static const char *read_number(const char *s, uint64_t *n)
{
	const char *begin = s;

	for (*n = 0; isdigit((unsigned char)*s) && *n < UINT64_MAX / 10 - 1; s++)
		*n = *n * 10 + (uint64_t)(*s - '0');
	return s == begin || isdigit((unsigned char)*s) ? NULL : s;
}

bool request_after(const char *id, uint64_t *epoch, uint64_t *number)
{
	uint64_t e = 0, n = 0;
	const char *s = id ? read_number(id, &e) : NULL;
	bool good;

	s = s && *s == '-' ? read_number(s + 1, &n) : NULL;
	good = s && !*s && e;
	*epoch = good ? e : 0;
	*number = good ? n : 0;
	return good;
}

struct vgpu_err *request_token_file(char *text, const char *path)
{
	size_t n = strcspn(text, "\r\n");

	if (text[n + strspn(text + n, "\r\n")])
		return err_new("%s: more than one line", path);
	text[n] = 0;
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return err_new("%s: a token is of printable characters without spaces", path);
	return n < AGENT_TOKEN_MIN ? err_new("%s: a token has at least %u characters", path, AGENT_TOKEN_MIN) : NULL;
}

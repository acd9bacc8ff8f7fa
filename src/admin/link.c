/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/link.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (4u << 20)

struct vgpu_err *link_open(struct link *l, const char *run_dir, unsigned patience_ms, int *status)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	*status = EXIT_UNREACHABLE;
	l->malformed = false;
	l->fd = -1;
	buf_init(&l->in, ANSWER_MAX);
	if ((size_t)snprintf(a.sun_path, sizeof(a.sun_path), "%s/control.sock", run_dir) >= sizeof(a.sun_path))
		return err_new("%s: longer than a socket's path may be", run_dir);
	strcpy(l->path, a.sun_path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd >= 0)
		link_patience(l, patience_ms);
	if (l->fd >= 0 && !connect(l->fd, (struct sockaddr *)&a, sizeof(a)))
		return NULL;
	if (errno == EACCES)
		*status = EXIT_DENIED;
	return errno == ECONNREFUSED ? err_new("%s: stale socket, nobody listens: start vgpud", l->path)
	       : errno == ENOENT     ? err_new("%s: no such socket: is vgpud running?", l->path)
	       : errno == EAGAIN     ? err_new("%s: vgpud lets nobody in: it hangs, or has more clients than it serves", l->path)
	       : errno == EACCES     ? err_new("%s: only root and members of vgpud's group may open it", l->path)
				     : err_sys(errno, "%s", l->path);
}

void link_patience(struct link *l, unsigned ms)
{
	struct timeval t = {ms / 1000, (long)(ms % 1000) * 1000};

	setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

void link_hang_up(struct link *l)
{
	shutdown(l->fd, SHUT_RDWR);
}

void link_close(struct link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	buf_free(&l->in);
}

static struct vgpu_err *read_line(struct link *l, json_t **answer)
{
	char *nl;
	long n = 1;

	while (!(nl = l->in.len ? memchr(l->in.data, '\n', l->in.len) : NULL) && n > 0)
		n = buf_read(&l->in, l->fd);
	if (!nl)
		return n == -EAGAIN ? err_new("%s: vgpud does not answer in time", l->path)
				    : err_new("%s: vgpud hung up without an answer", l->path);
	*nl = 0;
	*answer = json_loads(l->in.data, 0, NULL);
	buf_eat(&l->in, (size_t)(nl - l->in.data) + 1);
	return json_is_object(*answer) ? NULL : err_new("%s: malformed answer", l->path);
}

struct vgpu_err *link_ask(struct link *l, json_t *query, json_t **data, int *status)
{
	cleanup_mem char *line = json_dumps(query, JSON_COMPACT);
	struct vgpu_err *e;
	json_t *answer = NULL;

	*status = EXIT_UNREACHABLE;
	l->malformed = false;
	if (dprintf(l->fd, "%s\n", line) < 0)
		return err_sys(errno, "%s", l->path);
	e = read_line(l, &answer);
	if (!e && json_is_true(json_object_get(answer, "ok"))) {
		*data = json_incref(json_object_get(answer, "data"));
		*status = EXIT_DONE;
	} else if (!e) {
		const char *text = json_string_value(json_object_get(answer, "error"));

		*status = json_is_true(json_object_get(answer, "denied")) ? EXIT_DENIED : EXIT_REFUSED;
		l->malformed = json_is_true(json_object_get(answer, "malformed"));
		e = err_new("%s", text ? text : "malformed answer");
	}
	json_decref(answer);
	return e;
}

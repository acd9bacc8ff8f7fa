/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a client may take for one request, from its first byte, or the end of the one before, to the last byte
 * of the answer. libmicrohttpd's own timeout ends a silent connection only: one byte now and then would keep it, a
 * place among AGENT_CLIENTS_MAX and the rendered page it is given (one per second, hundreds of KiB) for ever.
 * Thread-safe.
 */
#ifndef VGPU_AGENT_CLIENTS_H
#define VGPU_AGENT_CLIENTS_H
#include <microhttpd.h>

int clients_start(unsigned seconds); /* 0, or an errno */
void clients_stop(void);	     /* after MHD_stop_daemon() */

/* For MHD_OPTION_NOTIFY_CONNECTION. */
void clients_on_connection(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code);
/* Its request is answered: the time begins again. */
void clients_again(struct MHD_Connection *c);
/* Its answer has no end: no limit until clients_again(). */
void clients_unlimited(struct MHD_Connection *c);
#endif

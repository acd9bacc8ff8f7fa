/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may what: the bearer tokens, the server's certificate and its key, and the authority of client certificates, from
 * files that are read at the start and again on SIGHUP. All of them, or none: a file that is wrong leaves what was.
 * Thread-safe.
 */
#ifndef VGPU_AGENT_KEYS_H
#define VGPU_AGENT_KEYS_H
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include "base/err.h"

struct key_files { /* each may be NULL; certificate and key go together */
	const char *token, *read_token; /* one line each */
	const char *certificate, *key, *client_ca; /* PEM */
	const char *user; /* whose groups may read secrets; NULL: the process's */
};

enum keys_may { MAY_NOTHING, MAY_LOOK, MAY_CHANGE };

#define KEYS_WHO 80

struct vgpu_err *keys_load(const struct key_files *files);
void keys_free(void);
/* Is there any token or authority? */
bool keys_any(void);
/* authorization: the header, or NULL. session: NULL without TLS. who: for logs, the credential's name, empty when none
 * was shown. Of two that were shown, the one that may more. */
enum keys_may keys_may(const char *authorization, gnutls_session_t session, char who[KEYS_WHO]);
/* Before the handshake: clients are asked for a certificate. */
void keys_ask_client(gnutls_session_t session);
/* For MHD_OPTION_HTTPS_CERT_CALLBACK2. */
int keys_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
		     unsigned *n, gnutls_ocsp_data_st **ocsp, unsigned *ocsp_n, gnutls_privkey_t *key, unsigned *flags);
#endif

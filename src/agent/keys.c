/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/keys.h"
#include "agent/request.h"
#include <errno.h>
#include <fcntl.h>
#include <gnutls/x509.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES 65536
#define CHAIN_MAX 8u /* certificates, the server's or a client's */
#define GROUPS_MAX 64

struct keys {
	char *token, *read_token, *certificate, *key; /* NULL: none */
	gnutls_x509_trust_list_t clients;	       /* NULL: none */
};

static struct keys current;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

/* ---- files ---- */

static bool is_own_group(gid_t gid, const char *user)
{
	struct passwd *p = user ? getpwnam(user) : NULL;
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (user)
		n = p && getgrouplist(user, p->pw_gid, groups, &n) >= 0 ? n : 0;
	else
		n = getgroups(GROUPS_MAX, groups);
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return !user && gid == getegid();
}

/* A secret is its owner's, or root's for a group of ours to read. */
static struct vgpu_err *check_secret(const char *path, const struct stat *s, const char *user)
{
	if (s->st_mode & 037)
		return err_new("%s: others may read it, or change it: chmod 600, or 640 and the group of vgpu-agent's user", path);
	if (s->st_mode & 040 && !is_own_group(s->st_gid, user))
		return err_new("%s: group %u may read it, which vgpu-agent's user is not in: chgrp, or chmod 600", path, s->st_gid);
	return NULL;
}

static struct vgpu_err *read_file(const char *path, bool secret, const char *user, char **text)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct vgpu_err *e = NULL;
	struct stat s;
	ssize_t n;

	if (fd < 0 && errno == EACCES)
		return err_new("%s: Permission denied: vgpu-agent's user must be able to read it, as with chmod 640 and that user's group", path);
	if (fd < 0 || fstat(fd, &s))
		return err_sys(errno, "%s", path);
	if (!S_ISREG(s.st_mode))
		return err_new("%s: not a file", path);
	if (secret)
		e = check_secret(path, &s, user);
	if (e)
		return e;
	*text = calloc(1, FILE_MAX_BYTES + 1);
	n = *text ? read(fd, *text, FILE_MAX_BYTES) : -1;
	if (n < 0)
		return err_sys(errno, "%s", path);
	return n == FILE_MAX_BYTES ? err_new("%s: longer than %d bytes", path, FILE_MAX_BYTES) : NULL;
}

static struct vgpu_err *read_token(const char *path, const char *user, char **token)
{
	struct vgpu_err *e = path ? read_file(path, true, user, token) : NULL;

	return e || !path ? e : request_token_file(*token, path);
}

static gnutls_datum_t datum(char *text)
{
	return (gnutls_datum_t){(unsigned char *)text, (unsigned)strlen(text)};
}

/* That they are what they should be and belong together: a handshake could only fail. */
static struct vgpu_err *check_pair(const struct key_files *f, const struct keys *k)
{
	gnutls_datum_t certificate = datum(k->certificate), key = datum(k->key);
	gnutls_certificate_credentials_t both = NULL;
	gnutls_x509_privkey_t private = NULL;
	gnutls_x509_crt_t *certs = NULL;
	struct vgpu_err *e = NULL;
	unsigned n = 0;
	int rc = gnutls_x509_crt_list_import2(&certs, &n, &certificate, GNUTLS_X509_FMT_PEM, 0);

	if (rc < 0 || n > CHAIN_MAX)
		e = err_new("%s: not a certificate in PEM, or more than %u: %s", f->certificate, CHAIN_MAX, rc < 0 ? gnutls_strerror(rc) : "a chain");
	gnutls_x509_privkey_init(&private);
	rc = e ? 0 : gnutls_x509_privkey_import2(private, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		e = err_new("%s: not a private key in PEM without a password: %s", f->key, gnutls_strerror(rc));
	gnutls_certificate_allocate_credentials(&both);
	rc = e ? 0 : gnutls_certificate_set_x509_key(both, certs, (int)n, private);
	if (rc < 0)
		e = err_new("%s: not the key of %s: %s", f->key, f->certificate, gnutls_strerror(rc));
	gnutls_certificate_free_credentials(both);
	gnutls_x509_privkey_deinit(private);
	for (unsigned i = 0; i < n && certs; i++)
		gnutls_x509_crt_deinit(certs[i]);
	gnutls_free(certs);
	return e;
}

static struct vgpu_err *read_authority(const char *path, gnutls_x509_trust_list_t *list)
{
	cleanup_mem char *text = NULL;
	struct vgpu_err *e = read_file(path, false, NULL, &text);
	gnutls_datum_t pem;
	int rc;

	if (e)
		return e;
	pem = datum(text);
	gnutls_x509_trust_list_init(list, 0);
	rc = gnutls_x509_trust_list_add_trust_mem(*list, &pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
	return rc > 0 ? NULL : err_new("%s: no certificate of an authority in PEM: %s", path, rc ? gnutls_strerror(rc) : "it has none");
}

static void release(struct keys *k)
{
	free(k->token);
	free(k->read_token);
	free(k->certificate);
	if (k->key)
		explicit_bzero(k->key, strlen(k->key));
	free(k->key);
	if (k->clients)
		gnutls_x509_trust_list_deinit(k->clients, 1);
	*k = (struct keys){0};
}

struct vgpu_err *keys_load(const struct key_files *f)
{
	struct keys k = {0}, old;
	struct vgpu_err *e = read_token(f->token, f->user, &k.token);

	if (!e)
		e = read_token(f->read_token, f->user, &k.read_token);
	if (!e && k.token && k.read_token && !strcmp(k.token, k.read_token))
		e = err_new("%s: the same token as in %s, which may change assignments", f->read_token, f->token);
	if (!e && f->certificate)
		e = read_file(f->certificate, false, NULL, &k.certificate);
	if (!e && f->key)
		e = read_file(f->key, true, f->user, &k.key);
	if (!e && f->key)
		e = check_pair(f, &k);
	if (!e && f->client_ca)
		e = read_authority(f->client_ca, &k.clients);
	if (e) {
		release(&k);
		return e;
	}
	pthread_rwlock_wrlock(&lock);
	old = current;
	current = k;
	pthread_rwlock_unlock(&lock);
	release(&old);
	return NULL;
}

void keys_free(void)
{
	release(&current);
}

/* ---- who may ---- */

bool keys_any(void)
{
	bool any;

	pthread_rwlock_rdlock(&lock);
	any = current.token || current.read_token || current.clients;
	pthread_rwlock_unlock(&lock);
	return any;
}

/* Signed by the configured authority, valid now, and for clients. */
static bool verify(gnutls_x509_crt_t *chain, unsigned n)
{
	gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID, (void *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
	unsigned status = 0;

	return !gnutls_x509_trust_list_verify_crt2(current.clients, chain, n, &purpose, 1, 0, &status, NULL) && !status;
}

/* Under the lock. */
static bool is_certified(gnutls_session_t session, char who[KEYS_WHO])
{
	const gnutls_datum_t *raw;
	gnutls_x509_crt_t chain[CHAIN_MAX];
	unsigned sent = 0, n = 0;
	size_t len = KEYS_WHO - sizeof("certificate ");
	bool good = false;

	raw = session && current.clients && gnutls_certificate_type_get(session) == GNUTLS_CRT_X509 ? gnutls_certificate_get_peers(session, &sent) : NULL;
	if (!raw || !sent || sent > CHAIN_MAX)
		return false;
	while (n < sent && !gnutls_x509_crt_init(&chain[n])) {
		n++;
		if (gnutls_x509_crt_import(chain[n - 1], &raw[n - 1], GNUTLS_X509_FMT_DER) < 0)
			break;
		good = n == sent;
	}
	strcpy(who, "certificate ");
	if (gnutls_x509_crt_get_dn_by_oid(chain[0], GNUTLS_OID_X520_COMMON_NAME, 0, 0, who + strlen(who), &len) < 0)
		strcpy(who, "certificate without a short name");
	good = good && verify(chain, n);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(chain[i]);
	return good;
}

enum keys_may keys_may(const char *authorization, gnutls_session_t session, char who[KEYS_WHO])
{
	enum keys_may may = MAY_NOTHING;

	who[0] = 0;
	pthread_rwlock_rdlock(&lock);
	if (current.token && request_token(authorization, current.token)) {
		strcpy(who, "token");
		may = MAY_CHANGE;
	} else if (is_certified(session, who)) {
		may = MAY_CHANGE;
	} else if (current.read_token && request_token(authorization, current.read_token)) {
		strcpy(who, "read token");
		may = MAY_LOOK;
	} else if (authorization) {
		strcpy(who, "wrong token");
	}
	pthread_rwlock_unlock(&lock);
	for (char *c = who; *c; c++)
		*c = *c < ' ' || *c > '~' ? '?' : *c;
	return may;
}

/* ---- TLS ---- */

/* The authorities' names are not sent: after SIGHUP they may be others. */
void keys_ask_client(gnutls_session_t session)
{
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
	gnutls_certificate_send_x509_rdn_sequence(session, 1);
}

int keys_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
		     unsigned *n, gnutls_ocsp_data_st **ocsp, unsigned *ocsp_n, gnutls_privkey_t *key, unsigned *flags)
{
	gnutls_datum_t certificate, private;
	int rc;

	*n = CHAIN_MAX;
	*ocsp_n = 0;
	*flags = GNUTLS_CERT_RETR_DEINIT_ALL;
	*certs = gnutls_malloc(CHAIN_MAX * sizeof(**certs));
	if (!*certs || gnutls_privkey_init(key)) {
		gnutls_free(*certs);
		return -1;
	}
	pthread_rwlock_rdlock(&lock);
	certificate = datum(current.certificate);
	private = datum(current.key);
	rc = gnutls_pcert_list_import_x509_raw(*certs, n, &certificate, GNUTLS_X509_FMT_PEM, 0);
	if (rc >= 0)
		rc = gnutls_privkey_import_x509_raw(*key, &private, GNUTLS_X509_FMT_PEM, NULL, 0);
	pthread_rwlock_unlock(&lock);
	if (rc < 0) {
		gnutls_privkey_deinit(*key);
		gnutls_free(*certs);
	}
	return rc < 0 ? -1 : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"
#include "render.h"

#include <nettle/sha2.h>
#include <string.h>

void item_sha256(const struct ev_item *it, char out[65])
{
	struct sha256_ctx ctx;
	uint8_t d[SHA256_DIGEST_SIZE];

	sha256_init(&ctx);
	sha256_update(&ctx, it->len, (const uint8_t *)it->data);
	sha256_digest(&ctx, sizeof(d), d);
	for (size_t i = 0; i < sizeof(d); i++)
		snprintf(out + 2 * i, 3, "%02x", d[i]);
}

/* Text of the audited host may be anything; what is no UTF-8 is shown as '?'. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	for (char *p = copy; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	j = json_string(copy ? copy : "");
	free(copy);
	return j;
}

static json_t *evidence(const struct result *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->nref; i++) {
		const struct ref *e = &r->ref[i];
		json_t *o = json_pack("{ssso}", "op", ev_op_name[e->item->op], "path", text(e->item->path));
		char sum[65];

		if (e->problem)
			json_object_set_new(o, "problem", json_string(e->problem));
		if (e->item->err)
			json_object_set_new(o, "error", json_string(strerror(e->item->err)));
		if (*e->excerpt)
			json_object_set_new(o, "excerpt", text(e->excerpt));
		if (!e->item->err && (e->item->op == EV_READ || e->item->op == EV_DERIVED)) {
			item_sha256(e->item, sum);
			json_object_set_new(o, "bytes", json_integer((json_int_t)e->item->len));
			json_object_set_new(o, "sha256", json_string(sum));
		}
		if (e->item->redacted)
			json_object_set_new(o, "redacted", json_true());
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *controls(const struct check *c)
{
	const struct check_group *g = check_group_of(c);

	return json_pack("{ssssssssss}", "nist_800_53", g->nist, "pci_dss_4_0_1", g->pci, "hipaa", g->hipaa, "iso_27001_2022",
			 g->iso, "gdpr", g->gdpr);
}

static json_t *result(const struct result *r)
{
	const struct check *c = r->check;
	json_t *o = json_pack("{ssssssso}", "id", c->id, "title", c->title, "result", status_name[r->status], "subject",
			      text(r->subject));

	json_object_set_new(o, "severity", json_string(severity_word(r->severity)));
	json_object_set_new(o, "message", text(r->message));
	json_object_set_new(o, "impact", json_integer(c->impact));
	json_object_set_new(o, "probability", json_integer(c->likelihood));
	json_object_set_new(o, "remedy", json_string(c->remedy));
	json_object_set_new(o, "references", json_string(c->refs));
	json_object_set_new(o, "catalogue", json_string(c->row));
	json_object_set_new(o, "evidence", evidence(r));
	json_object_set_new(o, "controls", controls(c));
	if (r->waived_by)
		json_object_set_new(o, "waived", text(r->waived_by));
	return o;
}

/* Everything but the results. */
static json_t *head(const struct report *r)
{
	const struct audit *a = r->a;
	const struct host *h = a->host;
	json_t *summary = json_object();
	json_t *o = json_pack("{sssisssI}", "schema", "openvgpu.doctor.report", "version", 1, "program",
			      "vgpu-doctor " VGPU_VERSION_STRING, "time", (json_int_t)r->time);

	for (int i = 0; i < STATUSES; i++)
		json_object_set_new(summary, status_name[i], json_integer((json_int_t)a->count[i]));
	json_object_set_new(o, "host", json_pack("{sosssssssbsssisisi}", "source", text(r->source), "kernel", h->release, "distribution",
						 distro_name[h->distro], "mode", mode_name[a->mode], "mode_given", a->mode_given,
						 "mode_reason", a->mode_reason, "gpus", (int)h->ngpu, "virtual_functions", (int)h->nvf,
						 "nvswitches", (int)h->nnvswitch));
	json_object_set_new(o, "summary", summary);
	json_object_set_new(o, "exit", json_integer(status_exit(a->count)));
	if (r->limits)
		json_object_set_new(o, "limits", text(r->limits));
	return o;
}

/* One result after the other: all of a large host's as one value would cost more memory than the audit. */
void render_json(const struct report *r, FILE *f)
{
	json_t *o = head(r);

	fputc('{', f);
	json_dumpf(o, f, JSON_INDENT(1) | JSON_EMBED);
	json_decref(o);
	fputs(", \"results\": [", f);
	for (size_t i = 0; i < r->a->nresult; i++) {
		fputs(i ? ",\n  " : "\n  ", f);
		o = result(&r->a->result[i]);
		json_dumpf(o, f, JSON_INDENT(1));
		json_decref(o);
	}
	fputs("\n ]\n}\n", f);
}

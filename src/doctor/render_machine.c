/* SPDX-License-Identifier: Apache-2.0 */
/* Formats other programs read: SARIF 2.1.0, JUnit XML, OCSF Compliance Finding, Prometheus text. */
#include "groups.h"
#include "host.h"
#include "markup.h"
#include "render.h"

#include <stdlib.h>
#include <string.h>

static json_t *str(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("(not UTF-8)");
}

/* ---- SARIF ---- */

static const char *const sarif_kind[STATUSES] = {"pass", "fail", "fail", "informational", "notApplicable", "open", "notApplicable", "open"};

static const char *sarif_level(const struct result *r)
{
	if (r->status == ST_FAIL)
		return "error";
	return r->status == ST_WARN ? "warning" : "none";
}

static json_t *sarif_rule(const struct check *c)
{
	return json_pack("{sss{ss}s{ss}s{ss}s{sisi}}", "id", c->id, "shortDescription", "text", c->title, "fullDescription", "text",
			 *c->rationale ? c->rationale : c->title, "help", "text", c->remedy, "properties", "impact", c->impact, "probability",
			 c->likelihood);
}

/* The first file looked at stands for the place of the finding. */
static json_t *sarif_result(const struct result *r)
{
	json_t *o = json_pack("{sssssss{so}}", "ruleId", r->check->id, "kind", sarif_kind[r->status], "level", sarif_level(r), "message", "text",
			      str(r->message));
	json_t *locations = json_array();

	for (size_t i = 0; i < r->nref && i < 1; i++)
		json_array_append_new(locations, json_pack("{s{s{so}}s[{so}]}", "physicalLocation", "artifactLocation", "uri",
							   str(r->ref[i].item->path + (r->ref[i].item->path[0] == '/')), "logicalLocations",
							   "name", str(r->subject)));
	json_object_set_new(o, "locations", locations);
	if (r->waived_by)
		json_object_set_new(o, "suppressions", json_pack("[{ssso}]", "kind", "external", "justification", str(r->waived_by)));
	return o;
}

void render_sarif(const struct report *rep, FILE *f)
{
	json_t *rules = json_array(), *results = json_array(), *o;

	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++)
			json_array_append_new(rules, sarif_rule(&check_groups[g]->check[i]));
	for (size_t i = 0; i < rep->a->nresult; i++)
		json_array_append_new(results, sarif_result(&rep->a->result[i]));
	o = json_pack("{sssss[{s{s{ssssssso}}so}]}", "$schema", "https://json.schemastore.org/sarif-2.1.0.json", "version", "2.1.0", "runs", "tool",
		      "driver", "name", "vgpu-doctor", "version", VGPU_VERSION_STRING, "semanticVersion", VGPU_VERSION_STRING, "rules", rules,
		      "results", results);
	json_dumpf(o, f, JSON_INDENT(1));
	fputc('\n', f);
	json_decref(o);
}

/* ---- JUnit ---- */

static void junit_case(FILE *f, const struct result *r)
{
	static const char *const tag[STATUSES] = {[ST_FAIL] = "failure", [ST_WARN] = "failure", [ST_UNKNOWN] = "error", [ST_ERROR] = "error",
						  [ST_NA] = "skipped", [ST_SKIPPED] = "skipped"};

	fprintf(f, "  <testcase classname=\"%s\" name=\"", r->check->id);
	put_escaped(f, r->check->title);
	fputs(" [", f);
	put_escaped(f, r->subject);
	fputs("]\">", f);
	if (tag[r->status]) {
		fprintf(f, "<%s type=\"%s\" message=\"", tag[r->status], status_name[r->status]);
		put_escaped(f, r->message);
		fputs("\">", f);
		if (r->status != ST_NA && r->status != ST_SKIPPED)
			put_escaped(f, r->check->remedy);
		fprintf(f, "</%s>", tag[r->status]);
	} else {
		fputs("<system-out>", f);
		put_escaped(f, r->message);
		fputs("</system-out>", f);
	}
	fputs("</testcase>\n", f);
}

void render_junit(const struct report *rep, FILE *f)
{
	const struct audit *a = rep->a;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"vgpu-doctor\">\n", f);
	for (size_t g = 0; g < check_ngroups; g++) {
		size_t n = 0, fails = 0, errors = 0, skipped = 0;

		for (size_t i = 0; i < a->nresult; i++) {
			const struct result *r = &a->result[i];

			if (check_group_of(r->check) != check_groups[g])
				continue;
			n++;
			fails += r->status == ST_FAIL || r->status == ST_WARN;
			errors += r->status == ST_UNKNOWN || r->status == ST_ERROR;
			skipped += r->status == ST_NA || r->status == ST_SKIPPED;
		}
		fprintf(f, " <testsuite name=\"%s\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\">\n", check_groups[g]->prefix, n, fails,
			errors, skipped);
		for (size_t i = 0; i < a->nresult; i++)
			if (check_group_of(a->result[i].check) == check_groups[g])
				junit_case(f, &a->result[i]);
		fputs(" </testsuite>\n", f);
	}
	fputs("</testsuites>\n", f);
}

/* ---- OCSF 1.3, class 2003 ---- */

static json_t *ocsf_one(const struct report *rep, const struct result *r)
{
	static const int status_id[STATUSES] = {[ST_PASS] = 1, [ST_WARN] = 2, [ST_FAIL] = 3};
	static const char *const status_text[STATUSES] = {[ST_PASS] = "Pass", [ST_WARN] = "Warning", [ST_FAIL] = "Fail"};
	static const char rank[] = "ILMHC"; /* severity_id 1 informational … 5 critical */
	const struct check_group *g = check_group_of(r->check);
	const char *at = strchr(rank, r->severity);
	int severity = at && *at ? (int)(at - rank) + 1 : 1;
	json_t *o = json_pack("{sisisisisIsi}", "class_uid", 2003, "category_uid", 2, "activity_id", 1, "type_uid", 200301, "time",
			      (json_int_t)rep->time * 1000, "severity_id", severity);

	json_object_set_new(o, "message", str(r->message));
	json_object_set_new(o, "metadata", json_pack("{sss{ssssss}}", "version", "1.3.0", "product", "name", "vgpu-doctor", "vendor_name", "OpenVGPU",
						     "version", VGPU_VERSION_STRING));
	json_object_set_new(o, "finding_info", json_pack("{sososs}", "uid", json_sprintf("%s", r->check->id), "title", str(r->check->title), "desc", r->check->rationale));
	json_object_set_new(o, "compliance", json_pack("{sssisss[ssss]}", "control", r->check->id, "status_id", status_id[r->status] ? status_id[r->status] : 99,
						       "status", status_text[r->status] ? status_text[r->status] : status_name[r->status], "standards",
						       "NIST 800-53r5", "PCI DSS 4.0.1", "HIPAA", "ISO 27001:2022"));
	json_object_set_new(json_object_get(o, "compliance"), "requirements", json_pack("[ssss]", g->nist, g->pci, g->hipaa, g->iso));
	json_object_set_new(o, "resources", json_pack("[{soss}]", "uid", str(r->subject), "type", "host device or setting"));
	json_object_set_new(o, "remediation", json_pack("{ss}", "desc", r->check->remedy));
	return o;
}

void render_ocsf(const struct report *rep, FILE *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rep->a->nresult; i++) {
		enum status st = rep->a->result[i].status;

		if (st != ST_NA && st != ST_SKIPPED)
			json_array_append_new(list, ocsf_one(rep, &rep->a->result[i]));
	}
	json_dumpf(list, f, JSON_INDENT(1));
	fputc('\n', f);
	json_decref(list);
}

/* ---- Prometheus ---- */

/* 0 clean, 1 warning, 2 failure, 3 unknown: the program's exit status for one check. */
static int check_value(const struct audit *a, const struct check *c)
{
	size_t count[STATUSES] = {0};

	for (size_t i = 0; i < a->nresult; i++)
		if (a->result[i].check == c)
			count[a->result[i].status]++;
	return status_exit(count);
}

void render_prometheus(const struct report *rep, FILE *f)
{
	const struct audit *a = rep->a;

	fputs("# HELP openvgpu_doctor_results Results of the last audit by kind.\n# TYPE openvgpu_doctor_results gauge\n", f);
	for (int i = 0; i < STATUSES; i++)
		fprintf(f, "openvgpu_doctor_results{result=\"%s\"} %zu\n", status_name[i], a->count[i]);
	fputs("# HELP openvgpu_doctor_check Worst result of a check: 0 clean, 1 warning, 2 failure, 3 unknown.\n# TYPE openvgpu_doctor_check gauge\n", f);
	for (size_t g = 0; g < check_ngroups; g++)
		for (size_t i = 0; i < check_groups[g]->n; i++)
			fprintf(f, "openvgpu_doctor_check{id=\"%s\",severity=\"%s\"} %d\n", check_groups[g]->check[i].id,
				severity_word(check_groups[g]->check[i].severity[a->mode]), check_value(a, &check_groups[g]->check[i]));
	fprintf(f, "# HELP openvgpu_doctor_exit Exit status of the last audit.\n# TYPE openvgpu_doctor_exit gauge\nopenvgpu_doctor_exit{mode=\"%s\"} %d\n",
		mode_name[a->mode], status_exit(a->count));
	fprintf(f, "# HELP openvgpu_doctor_time_seconds When the last audit ran.\n# TYPE openvgpu_doctor_time_seconds gauge\nopenvgpu_doctor_time_seconds %lld\n",
		(long long)rep->time);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/openapi.h"
#include <stdio.h>
#include <string.h>

#define TEXT "{\"type\": \"string\"}"
#define COUNT "{\"type\": \"integer\", \"minimum\": 0}"
#define NUMBER "{\"type\": \"number\"}"
#define FLAG "{\"type\": \"boolean\"}"
#define SECONDS "{\"type\": [\"number\", \"null\"], \"minimum\": 0}"
#define OBJECT(required, properties) \
	"{\"type\": \"object\", \"required\": [" required "], \"properties\": {" properties "}}"
#define LIST(of) "{\"type\": \"array\", \"items\": {\"$ref\": \"#/components/schemas/" of "\"}}"
#define PROPERTY(name, schema) "\"" name "\": " schema
#define PRIORITY "{\"type\": \"string\", \"enum\": [\"high\", \"medium\", \"low\"]}"
#define ASSIGNED                                                                                                        \
	PROPERTY("name", TEXT) "," PROPERTY("id", COUNT) "," PROPERTY("priority", PRIORITY) "," PROPERTY("weight", COUNT) "," \
	PROPERTY("share", NUMBER) "," PROPERTY("quota", COUNT) ","                                                      \
	PROPERTY("status", "{\"type\": \"string\", \"enum\": [\"up\", \"down\", \"quarantined\"]}")

/* Only what clients build on: vgpud tells more, and may tell more tomorrow. */
static const struct {
	const char *name, *json;
} schemas[] = {
	{"Error", "{\"type\": \"object\", \"required\": [\"error\"], \"additionalProperties\": false, \"properties\": {"
		  PROPERTY("error", TEXT) "}}"},
	{"Health", OBJECT("\"status\", \"problems\"",
		PROPERTY("status", "{\"type\": \"string\", \"enum\": [\"ok\", \"degraded\", \"down\"]}") ","
		PROPERTY("problems", "{\"type\": \"array\", \"items\": " OBJECT("\"what\", \"text\"", PROPERTY("what", TEXT) "," PROPERTY("text", TEXT)) "}"))},
	{"Capacity", OBJECT("\"device\", \"policy\", \"device_memory\", \"device_memory_reserved\", \"device_memory_free\", \"bar_budget\", \"bar_reserved\", \"vms\"",
		PROPERTY("device", TEXT) "," PROPERTY("policy", TEXT) "," PROPERTY("device_memory", COUNT) "," PROPERTY("device_memory_reserved", COUNT) ","
		PROPERTY("device_memory_free", COUNT) "," PROPERTY("bar_budget", COUNT) "," PROPERTY("bar_reserved", COUNT) "," PROPERTY("vms", COUNT))},
	{"Gpus", OBJECT("\"nvml\", \"gpus\"", PROPERTY("nvml", OBJECT("\"answers\", \"samples\", \"failed_calls\"",
		PROPERTY("answers", FLAG) "," PROPERTY("samples", COUNT) "," PROPERTY("failed_calls", COUNT) "," PROPERTY("error", TEXT) ","
		PROPERTY("driver", TEXT))) "," PROPERTY("gpus", "{\"type\": \"array\", \"items\": {\"type\": \"object\"}}"))},
	{"Vm", OBJECT("\"name\", \"id\", \"priority\", \"weight\", \"share\", \"quota\", \"status\", \"device\", \"pool\", \"quota_used\", \"quarantined\"",
		ASSIGNED "," PROPERTY("device", TEXT) "," PROPERTY("pool", TEXT) "," PROPERTY("quota_used", COUNT) "," PROPERTY("quarantined", FLAG))},
	{"Vms", LIST("Vm")},
	{"Usage", "{\"type\": \"array\", \"items\": " OBJECT("\"name\", \"device\", \"share\", \"device_seconds\", \"wait_seconds\", \"launches\", \"units\", \"bytes\", "
		"\"quota_used\", \"faults\", \"unsupported_calls\", \"queue_wait_p99_seconds\", \"execution_p99_seconds\", \"latency_p99_seconds\"",
		PROPERTY("name", TEXT) "," PROPERTY("device", TEXT) "," PROPERTY("share", NUMBER) "," PROPERTY("device_seconds", NUMBER) ","
		PROPERTY("wait_seconds", NUMBER) "," PROPERTY("launches", COUNT) "," PROPERTY("units", COUNT) "," PROPERTY("bytes", COUNT) ","
		PROPERTY("quota_used", COUNT) "," PROPERTY("faults", COUNT) "," PROPERTY("unsupported_calls", COUNT) ","
		PROPERTY("queue_wait_p99_seconds", SECONDS) "," PROPERTY("execution_p99_seconds", SECONDS) "," PROPERTY("latency_p99_seconds", SECONDS)) "}"},
	{"Connections", "{\"type\": \"array\", \"items\": " OBJECT("\"id\", \"vm\", \"transport\"",
		PROPERTY("id", COUNT) "," PROPERTY("vm", TEXT) "," PROPERTY("transport", TEXT)) "}"},
	{"Assignments", "{\"type\": \"array\", \"items\": " OBJECT("\"name\", \"id\", \"priority\", \"weight\", \"share\", \"quota\", \"status\"", ASSIGNED) "}"},
	/* Whatever else register-vm takes; what it does not know is refused with 400. */
	{"NewAssignment", OBJECT("\"name\"",
		PROPERTY("name", "{\"type\": \"string\", \"minLength\": 1, \"maxLength\": 48}") "," PROPERTY("priority", PRIORITY) ","
		PROPERTY("weight", "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 100}") "," PROPERTY("quota", COUNT) ","
		PROPERTY("bar_size", COUNT) "," PROPERTY("pool", TEXT) "," PROPERTY("cap", "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 100}") ","
		PROPERTY("reservation", "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 100}") "," PROPERTY("job_timeout_ns", COUNT) ","
		PROPERTY("max_launches_per_second", COUNT) "," PROPERTY("max_bytes_per_second", COUNT) "," PROPERTY("queue_depth", COUNT))},
	{"Nothing", "{\"type\": \"object\"}"},
	{"Document", OBJECT("\"openapi\", \"info\", \"paths\", \"components\"", PROPERTY("openapi", TEXT))},
};

static const struct {
	unsigned status;
	const char *means;
} statuses[] = {
	{200, "done"},
	{201, "made"},
	{400, "the body is not what is expected"},
	{401, "neither the token nor a client certificate"},
	{403, "this token, or the agent's user, may look and change nothing"},
	{404, "there is none of this name"},
	{409, "refused, with the reason: it exists, is in use, or there is no room"},
	{413, "the body is longer than 4096 bytes"},
	{415, "the body is not application/json"},
	{421, "without a token: the Host is none this agent answers for"},
	{503, "vgpud does not answer, or more wait than may; of a change the reason says whether it may be made yet"},
};

static json_t *schema_of(const char *name)
{
	char ref[64];

	snprintf(ref, sizeof(ref), "#/components/schemas/%s", name);
	return name ? json_pack("{s:s}", "$ref", ref) : json_pack("{s:s}", "type", "string");
}

static void add_answer(json_t *responses, unsigned status, const char *type, const char *schema)
{
	char key[8];

	snprintf(key, sizeof(key), "%u", status);
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		if (statuses[i].status == status)
			json_object_set_new(responses, key, json_pack("{s:s, s:{s:{s:o}}}", "description", statuses[i].means, "content", type,
								      "schema", schema_of(schema)));
}

static json_t *responses_of(const struct openapi_path *p, bool closed)
{
	json_t *o = json_object();

	add_answer(o, p->statuses[0], p->type, p->schema);
	if (closed)
		add_answer(o, 401, "application/json", "Error");
	add_answer(o, 421, "application/json", "Error");
	for (size_t i = 1; p->statuses[i]; i++) {
		bool health = p->schema && !strcmp(p->schema, "Health"); /* says how it is also when it is bad */

		add_answer(o, p->statuses[i], "application/json", health ? "Health" : "Error");
	}
	return o;
}

static bool takes_name(const struct openapi_path *p)
{
	return p->at.path[strlen(p->at.path) - 1] == '/';
}

static json_t *operation(const struct openapi_path *p, bool loopback)
{
	bool closed = !p->open || !loopback;
	json_t *o = json_pack("{s:s, s:o}", "summary", p->summary, "responses", responses_of(p, closed));

	if (closed)
		json_object_set_new(o, "security", json_pack("[{s:[]}, {s:[]}]", "token", "certificate"));
	if (takes_name(p))
		json_object_set_new(o, "parameters", json_pack("[{s:s, s:s, s:b, s:{s:s}}]", "name", "name", "in", "path", "required", 1,
							       "schema", "type", "string"));
	if (!strcmp(p->at.method, "POST"))
		json_object_set_new(o, "requestBody", json_pack("{s:b, s:{s:{s:o}}}", "required", 1, "content", "application/json", "schema",
								schema_of("NewAssignment")));
	return o;
}

static json_t *components(void)
{
	json_t *all = json_object();

	for (size_t i = 0; i < sizeof(schemas) / sizeof(*schemas); i++)
		json_object_set_new(all, schemas[i].name, json_loads(schemas[i].json, 0, NULL));
	return json_pack("{s:o, s:{s:{s:s, s:s}, s:{s:s}}}", "schemas", all, "securitySchemes", "token", "type", "http", "scheme",
			 "bearer", "certificate", "type", "mutualTLS");
}

json_t *openapi_document(const void *paths, size_t stride, size_t count, bool loopback)
{
	json_t *all = json_object();

	for (size_t i = 0; i < count; i++) {
		const struct openapi_path *p = (const void *)((const char *)paths + i * stride);
		char path[64], method[8];
		size_t k;
		json_t *o;

		snprintf(path, sizeof(path), "%s%s", p->at.path, takes_name(p) ? "{name}" : "");
		for (k = 0; p->at.method[k] && k < sizeof(method) - 1; k++)
			method[k] = (char)(p->at.method[k] | 32);
		method[k] = 0;
		o = json_object_get(all, path);
		if (!o)
			json_object_set_new(all, path, o = json_object());
		json_object_set_new(o, method, operation(p, loopback));
	}
	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:o, s:o}", "openapi", "3.1.0", "info", "title", "vgpu-agent", "version", VGPU_VERSION_STRING,
			 "description", "Any other path is 404, any other method 405, both with an Error. What is no HTTP is answered by the "
			 "HTTP library, as text.", "paths", all, "components", components());
}

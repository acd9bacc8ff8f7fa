/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#define DEPTH_MAX 8
#define NODES_MAX 20000u /* an alias is converted again each time it is met; this ends the bomb */

struct walk {
	yaml_document_t *doc;
	unsigned nodes;
	const char *problem;
	size_t line;
};

static json_t *refuse(struct walk *w, const yaml_node_t *n, const char *problem)
{
	if (!w->problem) {
		w->problem = problem;
		w->line = n ? n->start_mark.line + 1 : 0;
	}
	return NULL;
}

static json_t *convert(struct walk *w, const yaml_node_t *n, int depth);

static json_t *mapping(struct walk *w, const yaml_node_t *n, int depth)
{
	json_t *o = json_object();

	for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(w->doc, p->key);
		json_t *v = convert(w, yaml_document_get_node(w->doc, p->value), depth + 1);

		if (v && k && k->type == YAML_SCALAR_NODE && !json_object_get(o, (const char *)k->data.scalar.value)) {
			if (!json_object_set_new(o, (const char *)k->data.scalar.value, v))
				continue;
			v = NULL; /* not UTF-8; the value is gone with it */
		}
		json_decref(v);
		refuse(w, k, "a key is a text of its own, named once");
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *sequence(struct walk *w, const yaml_node_t *n, int depth)
{
	json_t *list = json_array();

	for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++)
		if (json_array_append_new(list, convert(w, yaml_document_get_node(w->doc, *i), depth + 1))) {
			refuse(w, n, "an element that is none");
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *convert(struct walk *w, const yaml_node_t *n, int depth)
{
	json_t *text;

	if (!n || depth > DEPTH_MAX || ++w->nodes > NODES_MAX)
		return refuse(w, n, "nested too deeply, or too long");
	if (n->type == YAML_MAPPING_NODE)
		return mapping(w, n, depth);
	if (n->type == YAML_SEQUENCE_NODE)
		return sequence(w, n, depth);
	text = json_stringn((const char *)n->data.scalar.value, n->data.scalar.length);
	return text ? text : refuse(w, n, "not valid text");
}

json_t *yaml_to_json(const char *text, size_t len, char *error, size_t size)
{
	struct walk w = {.problem = NULL};
	yaml_parser_t parser;
	yaml_document_t doc;
	json_t *v = NULL;

	if (!yaml_parser_initialize(&parser))
		abort();
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	if (!yaml_parser_load(&parser, &doc)) {
		snprintf(error, size, "line %zu: %s", parser.problem_mark.line + 1, parser.problem ? parser.problem : "no YAML");
	} else {
		w.doc = &doc;
		v = convert(&w, yaml_document_get_root_node(&doc), 0);
		if (!v)
			snprintf(error, size, "line %zu: %s", w.line, w.problem ? w.problem : "empty");
		yaml_document_delete(&doc);
	}
	yaml_parser_delete(&parser);
	return v;
}

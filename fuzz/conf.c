/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpud.conf and -o options from any text: an error names where it is; without one, every value lies
 * within what its key allows, and text fits its field.
 */
#include "vgpud/config.h"
#include "fuzz.h"

static void check(const struct vgpud_config *c)
{
	for (const struct conf_key *k = config_keys; k->name; k++) {
		const char *at = (const char *)c + k->offset;
		uint64_t v[2];
		unsigned choice = 0;

		memcpy(v, at, k->kind == CONF_RANGE ? 16 : 8);
		switch (k->kind) {
		case CONF_TEXT:
			MUST(memchr(at, 0, k->len));
			break;
		case CONF_CHOICE:
			memcpy(&choice, at, sizeof(choice));
			for (unsigned i = 0; i <= choice; i++)
				MUST(k->choices[i]);
			break;
		case CONF_RANGE:
			MUST(v[0] >= k->min && v[1] <= k->max && v[0] <= v[1]);
			break;
		default:
			MUST(v[0] <= k->max && (v[0] >= k->min || !v[0]));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vgpud_config *c = malloc(sizeof(*c));
	char *text = malloc(len + 1);
	struct vgpu_err *e;

	MUST(c && text);
	memcpy(text, data, len);
	text[len] = 0;
	config_defaults(c);
	e = conf_parse("fuzz", text, config_keys, c);
	MUST(!e || !strncmp(e->text, "fuzz:", 5));
	check(c);
	free(e);
	config_defaults(c);
	e = conf_set("option", text, config_keys, c);
	MUST(!e || !strncmp(e->text, "option: ", 8));
	check(c);
	free(e);
	free(text);
	free(c);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for bash and zsh, out of the table of commands. */
#include "admin/admin.h"
#include <stdio.h>
#include <string.h>

static void print_options(const struct command *c, const char *separator)
{
	for (const struct option *o = c->options; o && o->name; o++)
		printf("%s%s", o->name, separator);
}

static void command_names(void)
{
	for (const struct command *c = commands; c->name; c++)
		printf("%s%s", c == commands ? "" : " ", c->name);
}

static void bash_words(const char *words)
{
	if (!strcmp(words, "@commands"))
		command_names();
	else if (words[0] == '@')
		printf("$(_vgpu_admin_%s)", words + 1);
	else
		fputs(words, stdout);
}

static bool is_setting(const struct option *o)
{
	for (const struct option *s = settings; s->name; s++)
		if (!strcmp(s->name, o->name))
			return true;
	return false;
}

static void bash_option(const struct option *o)
{
	printf("\t%s) COMPREPLY=($(compgen -W \"", o->name);
	if (o->words)
		bash_words(o->words);
	fputs("\" -- \"$cur\")); return ;;\n", stdout);
}

static void bash(void)
{
	puts("# vgpu-admin(8), made by `vgpu-admin completion bash`\n"
	     "_vgpu_admin_vms() { vgpu-admin list-vms 2>/dev/null | awk 'NR > 1 {print $2}'; }\n"
	     "_vgpu_admin_pools() { vgpu-admin list-pools 2>/dev/null | awk 'NR > 1 {print $1}'; }\n"
	     "_vgpu_admin_devices() { vgpu-admin list-devices 2>/dev/null | awk 'NR > 1 {print $1}'; }\n"
	     "_vgpu_admin_gpus() { vgpu-admin scan-gpus 2>/dev/null | awk '$2 ~ /^(GPU|MIG)-/ {print $2}'; }\n"
	     "_vgpu_admin() {\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= at=0 i\n"
	     "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	     "\t\tcase ${COMP_WORDS[i]} in\n"
	     "\t\t--run-dir) ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) if [ -z \"$cmd\" ]; then cmd=${COMP_WORDS[i]}; else ((++at)); fi ;;\n"
	     "\t\tesac\n"
	     "\tdone\n"
	     "\tlocal words=\"--json --yes --run-dir\"\n"
	     "\tcase $prev in");
	for (const struct option *o = settings; o->name; o++)
		bash_option(o);
	for (const struct command *c = commands; c->name; c++)
		for (const struct option *o = c->options; o && o->name; o++)
			if (o->argument && !is_setting(o))
				bash_option(o);
	fputs("\t--run-dir) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n\tesac\n\tcase $cmd in\n\t'') words+=\" ", stdout);
	command_names();
	puts("\" ;;");
	for (const struct command *c = commands; c->name; c++) {
		printf("\t%s)\n\t\twords+=\" ", c->name);
		print_options(c, " ");
		puts("\"\n\t\tcase $at in");
		for (int i = 0; i < 2; i++)
			if (c->operand[i].words) {
				printf("\t\t%d) words+=\" ", i);
				bash_words(c->operand[i].words);
				puts("\" ;;");
			}
		puts("\t\tesac ;;");
	}
	puts("\tesac\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _vgpu_admin vgpu-admin");
}

/* In [...] and : of _arguments and _describe. */
static void zsh_text(const char *s)
{
	for (; *s; s++) {
		if (strchr("[]:'", *s))
			fputs(*s == '\'' ? "'\\'" : "\\", stdout);
		fputc(*s, stdout);
	}
}

static void zsh_operand(const struct operand *o)
{
	printf(" ':%s:", o->name);
	if (o->words && !strcmp(o->words, "@commands")) {
		fputs("(", stdout);
		command_names();
		fputs(")", stdout);
	} else if (o->words && o->words[0] == '@')
		printf("_vgpu_admin_%s", o->words + 1);
	else if (o->words)
		printf("(%s)", o->words);
	fputs("'", stdout);
}

static void zsh_options(const struct option *o)
{
	for (; o && o->name; o++) {
		printf(" '%s[", o->name);
		zsh_text(o->help);
		fputs("]", stdout);
		if (o->argument && o->words && o->words[0] == '@')
			printf(":%s:_vgpu_admin_%s", o->argument, o->words + 1);
		else if (o->argument)
			printf(":%s:%s%s%s", o->argument, o->words ? "(" : "", o->words ? o->words : "", o->words ? ")" : "");
		fputs("'", stdout);
	}
}

static void zsh(void)
{
	puts("#compdef vgpu-admin\n# vgpu-admin(8), made by `vgpu-admin completion zsh`\n"
	     "_vgpu_admin_vms() { local -a vms; vms=(${(f)\"$(vgpu-admin list-vms 2>/dev/null | awk 'NR > 1 {print $2}')\"}); "
	     "compadd -a vms }\n"
	     "_vgpu_admin_pools() { local -a all; all=(${(f)\"$(vgpu-admin list-pools 2>/dev/null | awk 'NR > 1 {print $1}')\"}); "
	     "compadd -a all }\n"
	     "_vgpu_admin_devices() { local -a all; all=(${(f)\"$(vgpu-admin list-devices 2>/dev/null | awk 'NR > 1 {print $1}')\"}); "
	     "compadd -a all }\n"
	     "_vgpu_admin_gpus() { local -a all; all=(${(f)\"$(vgpu-admin scan-gpus 2>/dev/null | "
	     "awk '$2 ~ /^(GPU|MIG)-/ {print $2}')\"}); compadd -a all }\n"
	     "_vgpu_admin() {\n\tlocal context state line\n\ttypeset -A opt_args\n"
	     "\t_arguments -C '--json[JSON]' '--yes[do not ask]' '--run-dir[where vgpud runs]:DIR:_directories' "
	     "'1:command:->command' '*::argument:->argument'\n\tcase $state in\n\tcommand)\n\t\tlocal -a all\n\t\tall=(");
	for (const struct command *c = commands; c->name; c++) {
		printf("\t\t'%s:", c->name);
		zsh_text(c->help);
		puts("'");
	}
	puts("\t\t)\n\t\t_describe command all ;;\n\targument)\n\t\tcase $line[1] in");
	for (const struct command *c = commands; c->name; c++) {
		printf("\t\t%s) _arguments", c->name);
		for (int i = 0; i < 2 && c->operand[i].name; i++)
			zsh_operand(&c->operand[i]);
		zsh_options(c->options);
		puts(" ;;");
	}
	puts("\t\tesac ;;\n\tesac\n}\n_vgpu_admin \"$@\"");
}

int completion_run(struct admin *a)
{
	const char *shell = json_string_value(json_object_get(a->query, "shell"));

	if (!strcmp(shell, "bash"))
		bash();
	else if (!strcmp(shell, "zsh"))
		zsh();
	else
		return fail(a, err_new("completion: \"%s\": only bash and zsh are known", shell), EXIT_USAGE);
	return fflush(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

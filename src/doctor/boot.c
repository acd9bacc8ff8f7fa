/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the next boot's command line comes from. Every place a supported distribution keeps one:
 * GRUB's defaults and generated file, BLS entries, kernel-install's cmdline, cmdline.d, Proxmox's
 * /etc/kernel/cmdline, unified kernel images.
 */
#include "cmdline.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool absent(const struct ev_item *it)
{
	return it->err == ENOENT || it->err == ENOTDIR;
}

/* Notes the source; true when its text can be used. */
static bool usable(struct boot *b, const struct ev_item *it)
{
	if (b->nlooked < PENDING_MAX)
		b->looked[b->nlooked++] = it;
	if (absent(it))
		return false;
	if (it->op != EV_LIST && it->text)
		return true;
	if (it->op == EV_LIST && !it->err)
		return true;
	if (b->nunreadable < PENDING_MAX)
		b->unreadable[b->nunreadable++] = it;
	return false;
}

static void add(struct boot *b, const char *kind, const struct ev_item *src, const char *text)
{
	if (b->n == PENDING_MAX)
		return;
	b->p[b->n].kind = kind;
	b->p[b->n].src = src;
	cmdline_parse(&b->p[b->n++].cmd, text);
}

/* The value of one shell word: quotes and backslashes resolved, expansions kept as they stand. */
static const char *shell_word(const char *s, char **out)
{
	size_t cap = strcspn(s, "\n") + 1, n = 0;
	char quote = 0;

	/* A quoted value may go on over lines. */
	*out = malloc(strlen(s) + cap + 1);
	if (!*out)
		abort();
	for (; *s; s++) {
		if (!quote && (isspace((uint8_t)*s) || *s == ';' || *s == '#'))
			break;
		if (*s == quote) {
			quote = 0;
		} else if (!quote && (*s == '"' || *s == '\'')) {
			quote = *s;
		} else if (*s == '\\' && quote != '\'' && s[1]) {
			if (*++s != '\n')
				(*out)[n++] = *s;
		} else {
			(*out)[n++] = *s;
		}
	}
	(*out)[n] = 0;
	return s;
}

/* "$VAR more": drop-ins extend the variable by naming it. */
static char *expanded(const char *word, const char *var, const char *old)
{
	char braced[64], plain[64], *out = NULL;
	const char *at;
	size_t n;

	snprintf(braced, sizeof(braced), "${%s}", var);
	snprintf(plain, sizeof(plain), "$%s", var);
	at = strstr(word, braced);
	n = at ? strlen(braced) : strlen(plain);
	if (!at)
		at = strstr(word, plain);
	if (at && (isalnum((uint8_t)at[n]) || at[n] == '_'))
		at = NULL; /* a longer name */
	if (!at)
		out = strdup(word);
	else if (asprintf(&out, "%.*s%s%s", (int)(at - word), word, old ? old : "", at + n) < 0)
		out = NULL;
	if (!out)
		abort();
	return out;
}

char *grub_default_cmdline(const char *text)
{
	static const char *const var[2] = {"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"};
	char *value[2] = {NULL, NULL}, *out = NULL;

	while (text && *text) {
		text += strspn(text, " \t\n");
		for (int i = 0; i < 2; i++) {
			size_t n = strlen(var[i]);
			bool append = !strncmp(text, var[i], n) && text[n] == '+' && text[n + 1] == '=';

			if (strncmp(text, var[i], n) || (text[n] != '=' && !append))
				continue;
			char *word, *full;

			text = shell_word(text + n + 1 + append, &word);
			full = expanded(word, var[i], value[i]);
			if (asprintf(&out, "%s%s", append && value[i] ? value[i] : "", full) < 0)
				abort();
			free(value[i]);
			free(word);
			free(full);
			value[i] = out;
			break;
		}
		text = strchr(text, '\n');
	}
	out = NULL;
	if ((value[0] || value[1]) &&
	    asprintf(&out, "%s %s", value[0] ? value[0] : "", value[1] ? value[1] : "") < 0)
		abort();
	free(value[0]);
	free(value[1]);
	return out;
}

/* Drop-ins are read after the main file, as grub-mkconfig does: one joined text, so "last wins". */
static void grub_defaults(struct boot *b, struct ev *ev)
{
	const struct ev_item *main_file = ev_get(ev, EV_READ, "/etc/default/grub");
	const struct ev_item *dir = ev_get(ev, EV_LIST, "/etc/default/grub.d");
	char *all = strdup(usable(b, main_file) ? main_file->data : ""), *cmd;

	if (usable(b, dir))
		for (const char *n = ev_name(dir, NULL); n; n = ev_name(dir, n)) {
			const struct ev_item *it;
			char *more;

			if (!strstr(n, ".cfg"))
				continue;
			it = ev_getf(ev, EV_READ, "/etc/default/grub.d/%s", n);
			if (!usable(b, it) || asprintf(&more, "%s\n%s", all, it->data) < 0)
				continue;
			free(all);
			all = more;
		}
	cmd = grub_default_cmdline(all);
	if (cmd)
		add(b, "grub-default", main_file, cmd);
	free(cmd);
	free(all);
}

/* Calls add for each line whose first word is keyword. */
static void keyword_lines(struct boot *b, const char *kind, const struct ev_item *it,
			  const char *keyword, bool skip_first_arg)
{
	size_t k = strlen(keyword);

	for (const char *p = it->data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		char *line;

		p += strspn(p, " \t");
		if (strncmp(p, keyword, k) || !isblank((uint8_t)p[k]))
			continue;
		line = strndup(p + k, strcspn(p + k, "\n"));
		if (line && skip_first_arg) {
			char *arg = line + strspn(line, " \t");

			add(b, kind, it, arg + strcspn(arg, " \t"));
		} else if (line) {
			add(b, kind, it, line);
		}
		free(line);
	}
}

static void bls_entries(struct boot *b, struct ev *ev, const char *dir)
{
	const struct ev_item *list = ev_get(ev, EV_LIST, dir);

	if (!usable(b, list))
		return;
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *it;

		if (strlen(n) < 5 || strcmp(n + strlen(n) - 5, ".conf"))
			continue;
		it = ev_getf(ev, EV_READ, "%s/%s", dir, n);
		if (usable(b, it))
			keyword_lines(b, "bls", it, "options", false);
	}
}

/* kernel-install: /etc/kernel/cmdline; mkinitcpio, dracut: cmdline.d joined. */
static void plain_cmdlines(struct boot *b, struct ev *ev)
{
	const struct ev_item *it = ev_get(ev, EV_READ, "/etc/kernel/cmdline");
	const struct ev_item *dir = ev_get(ev, EV_LIST, "/etc/cmdline.d");

	if (usable(b, it))
		add(b, "cmdline", it, it->data);
	if (usable(b, dir))
		for (const char *n = ev_name(dir, NULL); n; n = ev_name(dir, n)) {
			it = ev_getf(ev, EV_READ, "/etc/cmdline.d/%s", n);
			if (strstr(n, ".conf") && usable(b, it))
				add(b, "cmdline.d", it, it->data);
		}
}

static uint32_t le(const uint8_t *p, unsigned n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

bool pe_section(const uint8_t *p, size_t len, const char *name, size_t *off, size_t *size)
{
	size_t pe = len >= 88 && !memcmp(p, "MZ", 2) ? le(p + 60, 4) : len, sections;

	if (len < 88 || pe > len - 24 || memcmp(p + pe, "PE\0\0", 4))
		return false;
	sections = pe + 24 + le(p + pe + 20, 2);
	for (unsigned i = 0; i < le(p + pe + 6, 2); i++) {
		const uint8_t *s = p + sections + 40 * i;

		if (sections + 40 * (i + 1) > len)
			return false;
		if (strncmp((const char *)s, name, 8))
			continue;
		*size = le(s + 8, 4) < le(s + 16, 4) ? le(s + 8, 4) : le(s + 16, 4);
		*off = le(s + 20, 4);
		return true;
	}
	return false;
}

#define PE_HEADERS  65536u /* section tables lie well within */
#define CMDLINE_MAX 65536u

/* A unified image is large; what is kept of it is its command line. arg: its path. */
static void uki_cmdline(struct ev *ev, struct ev_item *item, void *arg)
{
	uint8_t *head = calloc(1, PE_HEADERS), *text = NULL;
	size_t off, size;
	int fd = ev_fd(ev, arg);
	ssize_t n = fd < 0 ? -1 : pread(fd, head, PE_HEADERS, 0);

	if (n < 0) {
		item->err = fd < 0 ? -fd : errno;
	} else if (!pe_section(head, (size_t)n, ".cmdline", &off, &size)) {
		item->err = ENOENT;
	} else if (size > CMDLINE_MAX || !(text = malloc(size + 1)) ||
		   pread(fd, text, size, (off_t)off) != (ssize_t)size) {
		item->err = EIO;
	} else {
		while (size && !text[size - 1])
			size--;
		ev_set_data(item, text, size);
	}
	free(text);
	free(head);
	if (fd >= 0)
		close(fd);
}

static void uki_images(struct boot *b, struct ev *ev, const char *dir)
{
	const struct ev_item *list = ev_get(ev, EV_LIST, dir);

	if (!usable(b, list))
		return;
	for (const char *n = ev_name(list, NULL); n; n = ev_name(list, n)) {
		const struct ev_item *it;
		char name[512];

		if (!strstr(n, ".efi"))
			continue;
		snprintf(name, sizeof(name), "uki:%s/%s", dir, n);
		it = ev_derive(ev, name, uki_cmdline, name + 4);
		if (usable(b, it))
			add(b, "uki", it, it->data);
	}
}

void boot_collect(struct boot *b, struct ev *ev)
{
	static const char *const grub_cfg[] = {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"};
	static const char *const bls[] = {"/boot/loader/entries", "/boot/efi/loader/entries",
					  "/efi/loader/entries"};
	static const char *const uki[] = {"/boot/efi/EFI/Linux", "/efi/EFI/Linux", "/boot/EFI/Linux"};

	grub_defaults(b, ev);
	plain_cmdlines(b, ev);
	for (size_t i = 0; i < 3; i++) {
		bls_entries(b, ev, bls[i]);
		uki_images(b, ev, uki[i]);
	}
	for (size_t i = 0; i < 2; i++) {
		const struct ev_item *it = ev_get(ev, EV_READ, grub_cfg[i]);

		if (!usable(b, it))
			continue;
		keyword_lines(b, "grub.cfg", it, "linux", true);
		keyword_lines(b, "grub.cfg", it, "linuxefi", true);
	}
}

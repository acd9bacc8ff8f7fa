/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/audit.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES 65536
#define PREFIX "openvgpu_doctor_"
#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz_"

static struct {
	const char *dir;
	const char *told; /* what was wrong with it the last time; NULL: nothing */
} au;

/* The file's text, or NULL with *why; NULL, NULL: there is none. */
static char *read_audit(const char **why)
{
	char path[4096], *text = NULL;
	int fd = -1;
	struct stat s;
	ssize_t n = -1;

	*why = "longer than a path may be";
	if ((size_t)snprintf(path, sizeof(path), "%s/" AUDIT_FILE, au.dir) < sizeof(path)) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
		*why = fd >= 0 ? NULL : errno == ENOENT ? NULL : "not to be read by this user";
	}
	if (fd < 0)
		return NULL;
	if (fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_size >= FILE_MAX_BYTES)
		*why = "not a file of an audit";
	else
		text = calloc(1, (size_t)s.st_size + 1);
	if (text)
		n = read(fd, text, (size_t)s.st_size);
	close(fd);
	if (n < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* After the name: {a="b",...} or nothing. NULL: malformed. */
static const char *skip_labels(const char *s)
{
	if (*s != '{')
		return s;
	do {
		size_t n = strspn(++s, NAME_CHARS);

		if (!n || strncmp(s + n, "=\"", 2))
			return NULL;
		s += n + 2;
		s += strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
		if (*s++ != '"')
			return NULL;
	} while (*s == ',');
	return *s == '}' ? s + 1 : NULL;
}

static bool is_sample(const char *line)
{
	size_t n = strspn(line, NAME_CHARS);
	const char *s = strncmp(line, PREFIX, strlen(PREFIX)) ? NULL : skip_labels(line + n);

	return s && *s == ' ' && s[1] && !s[1 + strspn(s + 1, "-0123456789.")];
}

/* "# TYPE openvgpu_doctor_x gauge", "# HELP openvgpu_doctor_x text" */
static bool is_head(const char *line, const char *what)
{
	size_t n;

	if (strncmp(line, what, strlen(what)) || strncmp(line + strlen(what), PREFIX, strlen(PREFIX)))
		return false;
	line += strlen(what);
	n = strspn(line, NAME_CHARS);
	return line[n] == ' ' && (what[2] == 'H' ? !strpbrk(line, "\r\\") : !strcmp(line + n, " gauge"));
}

/* The type first, as the rest of the page has it. */
static bool print_lines(char *text, FILE *out)
{
	char *rest, *help = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (is_head(line, "# HELP ") && !help) {
			help = line;
		} else if (is_head(line, "# TYPE ") && help) {
			fprintf(out, "%s\n%s\n", line, help);
			help = NULL;
		} else if (is_sample(line) && !help) {
			fprintf(out, "%s\n", line);
		} else {
			return false;
		}
	}
	return !help;
}

void audit_start(const char *dir)
{
	au.dir = dir;
}

void audit_metrics(FILE *out)
{
	const char *why;
	char *text = read_audit(&why), *lines = NULL;
	size_t len = 0;
	FILE *f = text ? open_memstream(&lines, &len) : NULL;
	bool good = f && print_lines(text, f);

	if (f && fclose(f))
		good = false;
	if (good)
		fwrite(lines, 1, len, out);
	else if (text)
		why = "not a file of an audit";
	if (why && why != au.told)
		log_warning("%s/" AUDIT_FILE ": %s", au.dir, why);
	au.told = why;
	free(lines);
	free(text);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	const char *name;
	enum log_level max;
	bool journal;
} self = {"openvgpu", LOG_L_INFO, false};

static const struct {
	const char *name;
	int syslog; /* sd-daemon(3) priority */
} levels[] = {
	[LOG_L_ERROR] = {"error", 3},
	[LOG_L_WARNING] = {"warning", 4},
	[LOG_L_INFO] = {"info", 6},
	[LOG_L_DEBUG] = {"debug", 7},
};

void log_init(const char *name, enum log_level max)
{
	self.name = name;
	self.max = max;
	self.journal = log_is_journal();
}

bool log_is_journal(void)
{
	const char *at = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat s;

	return at && sscanf(at, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &s) && s.st_dev == dev && s.st_ino == ino;
}

void log_set_level(enum log_level max)
{
	self.max = max;
}

int log_level_parse(const char *s)
{
	for (unsigned i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (!strcmp(s, levels[i].name))
			return (int)i;
	return -1;
}

const char *log_level_name(enum log_level l)
{
	return levels[l].name;
}

void log_at(enum log_level l, const char *fmt, ...)
{
	char line[1024];
	int saved = errno, n;
	va_list ap;

	if (l > self.max)
		return;
	if (self.journal)
		n = snprintf(line, sizeof(line), "<%d>", levels[l].syslog);
	else
		n = snprintf(line, sizeof(line), "%s: %s: ", self.name, levels[l].name);
	errno = saved; /* for %m */
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	n = (int)strlen(line);
	line[n++] = '\n';
	/* One write per line, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
	errno = saved;
}

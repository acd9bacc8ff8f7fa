/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on stderr: "program: level: text", or with journald's "<N>" prefix when stderr is
 * the journal ($JOURNAL_STREAM names its device and inode; a child whose stderr goes elsewhere inherits it too). Never tenant data. Control characters in the text are replaced.
 */
#ifndef VGPU_BASE_LOG_H
#define VGPU_BASE_LOG_H
#include <stdbool.h>

enum log_level { LOG_L_ERROR, LOG_L_WARNING, LOG_L_INFO, LOG_L_DEBUG };

/* name must stay valid. */
void log_init(const char *name, enum log_level max);
bool log_is_journal(void);
void log_set_level(enum log_level max);
/* "error", "warning", "info", "debug"; -1 for anything else. */
int log_level_parse(const char *s);
const char *log_level_name(enum log_level l);
void log_at(enum log_level l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_L_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_L_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_L_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_L_DEBUG, __VA_ARGS__)
#endif

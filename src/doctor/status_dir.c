/* SPDX-License-Identifier: Apache-2.0 */
#include "status_dir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int set(int dir, const char *prefix, bool ready, const char *mode)
{
	char name[64];
	size_t n = 0;
	int fd;

	for (const char *p = prefix; *p && n < 40; p++)
		name[n++] = (char)tolower((unsigned char)*p);
	snprintf(name + n, sizeof(name) - n, "-ready");
	if (!ready)
		return unlinkat(dir, name, 0) && errno != ENOENT ? -errno : 0;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	n = dprintf(fd, "mode=%s\n", mode) > 0;
	return close(fd) || !n ? -EIO : 0;
}

int status_dir_write(int dir, const struct audit *a)
{
	int rc = set(dir, "doctor", !a->count[ST_FAIL] && !a->count[ST_UNKNOWN] && !a->count[ST_ERROR], mode_name[a->mode]);

	for (size_t g = 0; g < check_ngroups && !rc; g++) {
		bool ready = true;

		for (size_t i = 0; i < a->nresult; i++)
			if (check_group_of(a->result[i].check) == check_groups[g] &&
			    (a->result[i].status == ST_FAIL || a->result[i].status == ST_UNKNOWN || a->result[i].status == ST_ERROR))
				ready = false;
		rc = set(dir, check_groups[g]->prefix, ready, mode_name[a->mode]);
	}
	return rc;
}

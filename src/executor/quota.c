/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory is counted by the broker, exactly, one message per allocation: a VM's executors share one
 * quota, so a local reserve in one would be missing in the other.
 */
#include "executor/process.h"
#include <errno.h>

int quota_take(void *ctx, uint64_t bytes)
{
	struct ipc_x_quota m = {(int64_t)bytes};

	if (!bytes)
		return 0;
	if (bytes > INT64_MAX || process_ask(ctx, IPC_X_QUOTA, &m, sizeof(m)))
		return -EDQUOT;
	return 0;
}

void quota_give(void *ctx, uint64_t bytes)
{
	struct ipc_x_quota m = {-(int64_t)bytes};

	/* Waits for the answer, so that a cuMemGetInfo after a cuMemFree sees it. */
	if (bytes && bytes <= INT64_MAX)
		process_ask(ctx, IPC_X_QUOTA, &m, sizeof(m));
}

void quota_info(void *ctx, uint64_t *free_bytes, uint64_t *total)
{
	struct process *p = ctx;
	uint64_t used = atomic_load(&p->page->quota_used);

	*total = atomic_load(&p->page->quota_total);
	*free_bytes = used < *total ? *total - used : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/ipc.h"

#define K IPC_KEEPER
#define B IPC_BROKER
#define X IPC_EXECUTOR
#define START IPC_S_START
#define RUN IPC_S_RUN
#define ANY (IPC_S_START | IPC_S_RUN | IPC_S_ADOPT)
#define CONN_FDS (1 + 2 * IPC_VECTORS_MAX)

static const struct msg_rule rules[IPC_TYPES] = {
	/*                    name         size                       fds          from states */
	[IPC_CONTROL] =     {"CONTROL",     0,                            1, 1,        K, ANY},
	[IPC_CONN] =        {"CONN",        sizeof(struct ipc_conn),      0, CONN_FDS, K, ANY},
	[IPC_GONE] =        {"GONE",        sizeof(struct ipc_id),        0, 0,        K, ANY},
	[IPC_SPAWNED] =     {"SPAWNED",     sizeof(struct ipc_spawned),   3, 3,        K, ANY},
	[IPC_EXITED] =      {"EXITED",      sizeof(struct ipc_exited),    0, 0,        K, ANY},
	[IPC_LISTENING] =   {"LISTENING",   sizeof(struct ipc_listening), 0, 0,        K, ANY},
	[IPC_SYNCED] =      {"SYNCED",      sizeof(struct ipc_synced),    0, 0,        K, START},
	[IPC_RELOADED] =    {"RELOADED",    sizeof(struct ipc_reloaded),  0, 1,        K, RUN},
	[IPC_UPGRADED] =    {"UPGRADED",    sizeof(struct ipc_reloaded),  0, 0,        K, ANY},
	[IPC_READY] =       {"READY",       sizeof(struct ipc_ready),     0, 0,        B, START},
	[IPC_LISTEN] =      {"LISTEN",      sizeof(struct ipc_listen),    0, 0,        B, ANY},
	[IPC_UNLISTEN] =    {"UNLISTEN",    sizeof(struct ipc_id),        0, 0,        B, RUN},
	[IPC_MAKE] =        {"MAKE",        sizeof(struct ipc_make),      0, 0,        B, RUN},
	[IPC_HANDOVER] =    {"HANDOVER",    sizeof(struct ipc_handover),  0, 0,        B, RUN},
	[IPC_CLOSE] =       {"CLOSE",       sizeof(struct ipc_id),        0, 0,        B, ANY},
	[IPC_SPAWN] =       {"SPAWN",       sizeof(struct ipc_spawn),     0, 0,        B, ANY},
	[IPC_KILL] =        {"KILL",        sizeof(struct ipc_id),        0, 0,        B, ANY},
	[IPC_ASSIGN] =      {"ASSIGN",      sizeof(struct ipc_spawn),     0, 0,        B, RUN},
	[IPC_RELOAD] =      {"RELOAD",      sizeof(struct ipc_reserved),  0, 0,        B, RUN},
	[IPC_UPGRADE] =     {"UPGRADE",     sizeof(struct ipc_reserved),  0, 0,        B, RUN},
	[IPC_X_DEVICE] =    {"X_DEVICE",    sizeof(struct ipc_x_device),  0, 0,        X, START},
	[IPC_X_SPARE] =     {"X_SPARE",     0,                            0, 0,        X, START},
	[IPC_X_READY] =     {"X_READY",     sizeof(struct ipc_x_ready),   0, 0,        X, START | IPC_S_ADOPT},
	[IPC_X_END] =       {"X_END",       sizeof(struct ipc_x_end),     0, 0,        X, ANY},
	[IPC_X_QUOTA] =     {"X_QUOTA",     sizeof(struct ipc_x_quota),   0, 0,        X, ANY},
	[IPC_X_EXTENTS] =   {"X_EXTENTS",   sizeof(struct ipc_x_extents), 0, 0,        X, RUN | IPC_S_ADOPT},
	[IPC_X_SICK] =      {"X_SICK",      sizeof(struct ipc_x_sick),    0, 0,        X, ANY},
	[IPC_RESULT] =      {"RESULT",      sizeof(struct ipc_result),    0, 0,        B, ANY},
	[IPC_ADOPT] =       {"ADOPT",       sizeof(struct ipc_adopt),     0, 0,        B, ANY},
	[IPC_STOP] =        {"STOP",        0,                            0, 0,        B, ANY},
	[IPC_CHANNEL] =     {"CHANNEL",     sizeof(struct ipc_channel),   3, 3,        B, START},
};

const struct msg_table ipc_table = {rules, IPC_TYPES};

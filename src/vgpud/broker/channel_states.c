/* SPDX-License-Identifier: Apache-2.0 */
#include "vgpud/broker/channel_states.h"

#define STAY(s) {CH_NOTHING, s}

const struct ch_step ch_table[CH_STATES][CH_EVENTS] = {
	/*               WANT                          CLOSE                         TOKEN                        READY                 EXIT                         KILL                       CLEAN                    STUCK */
	[CH_FREE] =      {{CH_DO_QUEUE, CH_QUEUED},    STAY(CH_FREE),                STAY(CH_FREE),               STAY(CH_FREE),        STAY(CH_FREE),               STAY(CH_FREE),             STAY(CH_FREE),           STAY(CH_FREE)},
	[CH_QUEUED] =    {{CH_DO_QUEUE, CH_QUEUED},    {CH_DO_FORGET, CH_FREE},      {CH_DO_SPAWN, CH_STARTING},  STAY(CH_QUEUED),      STAY(CH_QUEUED),             {CH_DO_REPORT, CH_DEAD},   STAY(CH_QUEUED),         STAY(CH_QUEUED)},
	[CH_STARTING] =  {{CH_DO_KILL, CH_KILLING},    {CH_DO_KILL, CH_KILLING},     STAY(CH_STARTING),           {CH_NOTHING, CH_RUN}, {CH_DO_REPORT, CH_DEAD},     {CH_DO_KILL, CH_DYING},    STAY(CH_STARTING),       STAY(CH_STARTING)},
	[CH_RUN] =       {{CH_DO_KILL, CH_KILLING},    {CH_DO_KILL, CH_KILLING},     STAY(CH_RUN),                STAY(CH_RUN),         {CH_DO_REPORT, CH_DEAD},     {CH_DO_KILL, CH_DYING},    STAY(CH_RUN),            STAY(CH_RUN)},
	[CH_KILLING] =   {STAY(CH_KILLING),            STAY(CH_KILLING),             STAY(CH_KILLING),            STAY(CH_KILLING),     {CH_DO_SCRUB, CH_SCRUBBING}, STAY(CH_KILLING),          STAY(CH_KILLING),        STAY(CH_KILLING)},
	[CH_DYING] =     {{CH_NOTHING, CH_KILLING},    {CH_NOTHING, CH_KILLING},     STAY(CH_DYING),              STAY(CH_DYING),       {CH_DO_REPORT, CH_DEAD},     STAY(CH_DYING),            STAY(CH_DYING),          STAY(CH_DYING)},
	[CH_DEAD] =      {{CH_DO_SCRUB, CH_SCRUBBING}, {CH_DO_SCRUB, CH_SCRUBBING},  STAY(CH_DEAD),               STAY(CH_DEAD),        STAY(CH_DEAD),               STAY(CH_DEAD),             STAY(CH_DEAD),           STAY(CH_DEAD)},
	[CH_SCRUBBING] = {STAY(CH_SCRUBBING),          STAY(CH_SCRUBBING),           STAY(CH_SCRUBBING),          STAY(CH_SCRUBBING),   STAY(CH_SCRUBBING),          STAY(CH_SCRUBBING),        {CH_DO_FORGET, CH_FREE}, {CH_DO_REFUSE, CH_RETIRED}},
	[CH_RETIRED] =   {{CH_DO_REFUSE, CH_RETIRED},  {CH_DO_REFUSE, CH_RETIRED},   STAY(CH_RETIRED),            STAY(CH_RETIRED),     STAY(CH_RETIRED),            STAY(CH_RETIRED),          STAY(CH_RETIRED),        STAY(CH_RETIRED)},
};

const enum vgpu_channel_state ch_shown[CH_STATES] = {
	[CH_FREE] = VGPU_CH_FREE,	  [CH_QUEUED] = VGPU_CH_STARTING, [CH_STARTING] = VGPU_CH_STARTING,
	[CH_RUN] = VGPU_CH_RUN,		  [CH_KILLING] = VGPU_CH_DEAD,	  [CH_DYING] = VGPU_CH_RUN,
	[CH_DEAD] = VGPU_CH_DEAD,	  [CH_SCRUBBING] = VGPU_CH_DEAD,  [CH_RETIRED] = VGPU_CH_DEAD,
};

const char *const ch_names[CH_STATES] = {"free", "queued", "starting", "run", "killing", "dying", "dead",
					 "scrubbing", "retired"};

/* SPDX-License-Identifier: Apache-2.0 */
#include "models.h"

#define MIG_141 " 1g.18gb 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb "
#define MIG_80	" 1g.10gb 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb "
#define MIG_40	" 1g.5gb 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb "

static const struct gpu_model models[] = {
	{0x2335, "H200 SXM", 141, 550, 90, "H200 needs R550, MIG on it 550.90.07", MIG_141, " since release 18.0"},
	{0x233b, "H200 NVL", 141, 550, 90, "H200 NVL needs R550.90.07", MIG_141, " since release 18.0"},
	{0x2330, "H100 SXM", 80, 525, 60, "H100 needs R525", MIG_80, ""},
	{0x2331, "H100 PCIe", 80, 525, 60, "H100 needs R525", MIG_80, ""},
	{0x2321, "H100 NVL", 94, 535, 0, "H100 NVL needs R535", NULL, ""},
	{0x2324, "H800", 80, 0, 0, NULL, NULL, NULL},
	{0x2329, "H20", 96, 0, 0, NULL, NULL, NULL},
	{0x2342, "GH200", 96, 0, 0, NULL, NULL, NULL},
	{0x20b0, "A100 SXM 40GB", 40, 450, 80, "A100 needs R450", MIG_40, ""},
	{0x20b2, "A100 SXM 80GB", 80, 450, 80, "A100 needs R450", MIG_80, ""},
	{0x20b5, "A100 PCIe 80GB", 80, 450, 80, "A100 needs R450", MIG_80, ""},
	{0x20f1, "A100 PCIe 40GB", 40, 0, 0, NULL, NULL, ""},
	{0x2901, "B200", 180, 570, 0, "B200 needs R570", NULL, ""},
	{0x26b9, "L40S", 0, 0, 0, NULL, NULL, ""},
	{0x27b8, "L4", 0, 0, 0, NULL, NULL, ""},
};

const struct gpu_model *gpu_model(const struct pci_dev *d)
{
	for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++)
		if (d->vendor == 0x10de && d->device == models[i].device)
			return &models[i];
	return NULL;
}

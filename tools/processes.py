# SPDX-License-Identifier: Apache-2.0
"""What tests ask about processes that are not their children."""


def alive(pid):
    """Does it still run? A zombie has ended: whoever adopted it just has not asked yet."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False

"""The parts of JSON that say where its values begin and end, found without parsing it."""

import re

# A text, so that no bracket or comma in it counts, or a bracket or comma. A text that is never
# closed is one token to the end; nothing is tried twice (the `+` after `*`): the search is linear.
TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)

/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/forwarded.h"

#include "shared/base/limits.h"
#include "shared/wire/text.h"

void forwarded_format(const struct addr *from, struct str host, struct sbuf *out)
{
	char text[ADDR_TEXT_MAX];
	sbuf_printf(out, "for=\"%s\"", addr_text(from, text));
	if (host.n > 0) {
		sbuf_putz(out, ";host=");
		sbuf_put(out, host);
	}
}

struct str forwarded_host(struct str value)
{
	static const struct str none = STR_INIT(""), key = STR_INIT("host=");
	if (value.n > LIMIT_FORWARDED_BYTES || !text_is_visible(value))
		return none;
	while (value.n > 0) {
		struct str part = text_trim(text_split(&value, ';'));
		if (!str_starts(part, key))
			continue;
		struct str host = {part.p + key.n, part.n - key.n};
		if (str_starts(host, STR("\"")))
			host = (struct str){host.p + 1, host.n - 1};
		if (str_ends(host, STR("\"")))
			host.n--;
		return host.n > 0 ? host : none;
	}
	return none;
}

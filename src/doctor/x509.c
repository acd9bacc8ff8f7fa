/* SPDX-License-Identifier: Apache-2.0 */
#include "x509.h"

#include <nettle/asn1.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAG_UTC_TIME	     23
#define TAG_GENERALIZED_TIME 24

/* "YYMMDDhhmmssZ" (two digits: 1950 to 2049) or "YYYYMMDDhhmmssZ". */
static bool take_time(const uint8_t *p, size_t n, unsigned tag, int64_t *t)
{
	struct tm tm = {0};
	char s[20];

	if (n >= sizeof(s) || n < 13)
		return false;
	memcpy(s, p, n);
	s[n] = 0;
	if (tag == TAG_UTC_TIME) {
		if (sscanf(s, "%2d%2d%2d%2d%2d%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
			return false;
		tm.tm_year += tm.tm_year < 50 ? 100 : 0;
	} else {
		if (sscanf(s, "%4d%2d%2d%2d%2d%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
			return false;
		tm.tm_year -= 1900;
	}
	tm.tm_mon--;
	*t = timegm(&tm);
	return true;
}

/* Certificate → tbsCertificate: [0] version, serial, algorithm, issuer, validity { notBefore, notAfter }. */
static bool not_after(size_t len, const uint8_t *der, int64_t *t)
{
	struct asn1_der_iterator cert, tbs, seq, val;

	if (asn1_der_iterator_first(&cert, len, der) != ASN1_ITERATOR_CONSTRUCTED ||
	    asn1_der_decode_constructed(&cert, &tbs) != ASN1_ITERATOR_CONSTRUCTED ||
	    asn1_der_decode_constructed(&tbs, &seq) == ASN1_ITERATOR_ERROR)
		return false;
	for (int i = 0; i < 6; i++) {
		/* The validity is the only sequence whose first element is a time. */
		if (seq.type == ASN1_SEQUENCE && asn1_der_decode_constructed(&seq, &val) == ASN1_ITERATOR_PRIMITIVE &&
		    ((unsigned)val.type == TAG_UTC_TIME || (unsigned)val.type == TAG_GENERALIZED_TIME))
			return asn1_der_iterator_next(&val) == ASN1_ITERATOR_PRIMITIVE && take_time(val.data, val.length, val.type, t);
		if (asn1_der_iterator_next(&seq) != ASN1_ITERATOR_PRIMITIVE && seq.type == 0)
			return false;
	}
	return false;
}

bool pem_not_after(const char *pem, size_t len, int64_t *t)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *b = memmem(pem, len, begin, sizeof(begin) - 1), *e;
	struct base64_decode_ctx ctx;
	uint8_t *der;
	size_t n;
	bool ok;

	if (!b)
		return false;
	b += sizeof(begin) - 1;
	e = memmem(b, len - (size_t)(b - pem), "-----END", 8);
	if (!e)
		return false;
	n = BASE64_DECODE_LENGTH((size_t)(e - b));
	der = malloc(n + 1);
	if (!der)
		abort();
	base64_decode_init(&ctx);
	ok = base64_decode_update(&ctx, &n, der, (size_t)(e - b), b) && base64_decode_final(&ctx) && not_after(n, der, t);
	free(der);
	return ok;
}

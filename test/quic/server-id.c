/*
 * Gives the connection ids of ngtcp2's example server a prefix, as a server with a configuration of its own would: preloaded, it stands before
 * gnutls_rnd(), from which that server takes its 18-byte ids (NGTCP2_SV_SCIDLEN), and sets the bits of QUIC_ID_MASK to those of QUIC_ID. All other random
 * bytes are left alone. Both are hexadecimal, of one length.
 *
 *     cc -shared -fPIC -o server-id.so server-id.c
 *     QUIC_ID=400102 QUIC_ID_MASK=e0ffff LD_PRELOAD=./server-id.so gtlsserver …
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_LENGTH = 18 };

static unsigned byte_of(const char *hex, size_t at)
{
	unsigned value = 0;

	sscanf(hex + 2 * at, "%2x", &value);
	return value;
}

int gnutls_rnd(int level, void *data, size_t length)
{
	static int (*real)(int, void *, size_t);
	const char *id = getenv("QUIC_ID");
	const char *mask = getenv("QUIC_ID_MASK");
	unsigned char *bytes = data;
	int result;

	if (!real)
		real = (int (*)(int, void *, size_t))dlsym(RTLD_NEXT, "gnutls_rnd");
	result = real(level, data, length);
	if (result != 0 || length != ID_LENGTH || !id || !mask)
		return result;
	for (size_t at = 0; at < strlen(id) / 2; at++)
		bytes[at] = (bytes[at] & ~byte_of(mask, at)) | (byte_of(id, at) & byte_of(mask, at));
	return 0;
}

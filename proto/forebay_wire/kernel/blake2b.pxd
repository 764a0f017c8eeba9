# BLAKE2b-128 of one message (RFC 7693, no key), in portable C: what `hashlib.blake2b(data, digest_size=16)` gives.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint64_t FB_IV[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};

    #define FB_ROTR(x, n) (((x) >> (n)) | ((x) << (64 - (n))))
    #define FB_G(a, b, c, d, x, y)                                   \\
        a = a + b + (x); d = FB_ROTR(d ^ a, 32);                     \\
        c = c + d;       b = FB_ROTR(b ^ c, 24);                     \\
        a = a + b + (y); d = FB_ROTR(d ^ a, 16);                     \\
        c = c + d;       b = FB_ROTR(b ^ c, 63);
    #define FB_ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \\
        FB_G(v0, v4, v8, v12, m[s0], m[s1])   FB_G(v1, v5, v9, v13, m[s2], m[s3])          \\
        FB_G(v2, v6, v10, v14, m[s4], m[s5])  FB_G(v3, v7, v11, v15, m[s6], m[s7])         \\
        FB_G(v0, v5, v10, v15, m[s8], m[s9])  FB_G(v1, v6, v11, v12, m[s10], m[s11])       \\
        FB_G(v2, v7, v8, v13, m[s12], m[s13]) FB_G(v3, v4, v9, v14, m[s14], m[s15])

    static void fb_compress(uint64_t h[8], const uint8_t *block, uint64_t counted, int last) {
        uint64_t m[16];
        #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        memcpy(m, block, 128);
        #else
        for (int i = 0; i < 16; i++) {
            m[i] = 0;
            for (int j = 7; j >= 0; j--) m[i] = (m[i] << 8) | block[8 * i + j];
        }
        #endif
        uint64_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
        uint64_t v8 = FB_IV[0], v9 = FB_IV[1], v10 = FB_IV[2], v11 = FB_IV[3];
        uint64_t v12 = FB_IV[4] ^ counted, v13 = FB_IV[5], v14 = last ? ~FB_IV[6] : FB_IV[6], v15 = FB_IV[7];
        FB_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        FB_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        FB_ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)
        FB_ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)
        FB_ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)
        FB_ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)
        FB_ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)
        FB_ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)
        FB_ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)
        FB_ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)
        FB_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        FB_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)
        h[0] ^= v0 ^ v8;  h[1] ^= v1 ^ v9;  h[2] ^= v2 ^ v10; h[3] ^= v3 ^ v11;
        h[4] ^= v4 ^ v12; h[5] ^= v5 ^ v13; h[6] ^= v6 ^ v14; h[7] ^= v7 ^ v15;
    }

    /* out[0..1]: the first 16 bytes of the digest as two little-endian words */
    static void fb_blake2b_128(const uint8_t *data, size_t size, uint64_t out[2]) {
        uint64_t h[8];
        uint8_t block[128];
        size_t done = 0;
        memcpy(h, FB_IV, sizeof h);
        h[0] ^= 0x01010000ULL ^ 16ULL;
        for (; size - done > 128; done += 128) fb_compress(h, data + done, done + 128, 0);
        memset(block, 0, sizeof block);
        if (size > done) memcpy(block, data + done, size - done);
        fb_compress(h, block, size, 1);
        out[0] = h[0];
        out[1] = h[1];
    }
    """
    void fb_blake2b_128(const uint8_t* data, size_t size, uint64_t* out) noexcept nogil

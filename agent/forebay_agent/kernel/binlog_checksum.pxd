# CRC-32 of events (the one of zlib and IEEE 802.3: reflected, polynomial 0xEDB88320), 16 bytes at a step by tables.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    static uint32_t forebay_crc_tables[16][256];
    __attribute__((unused)) static void forebay_crc_prepare(void) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0);
            forebay_crc_tables[0][i] = value;
        }
        for (uint32_t i = 0; i < 256; i++)
            for (int slice = 1; slice < 16; slice++) {
                uint32_t previous = forebay_crc_tables[slice - 1][i];
                forebay_crc_tables[slice][i] = (previous >> 8) ^ forebay_crc_tables[0][previous & 0xff];
            }
    }
    __attribute__((unused)) static uint32_t forebay_crc_more(uint32_t crc, const unsigned char *p, size_t size) {
        uint32_t (*t)[256] = forebay_crc_tables;
        uint64_t low, high;
        for (; size >= 16; p += 16, size -= 16) {
            memcpy(&low, p, 8);
            memcpy(&high, p + 8, 8);
            low ^= crc;
            crc = t[15][low & 0xff] ^ t[14][low >> 8 & 0xff] ^ t[13][low >> 16 & 0xff] ^ t[12][low >> 24 & 0xff]
                ^ t[11][low >> 32 & 0xff] ^ t[10][low >> 40 & 0xff] ^ t[9][low >> 48 & 0xff] ^ t[8][low >> 56]
                ^ t[7][high & 0xff] ^ t[6][high >> 8 & 0xff] ^ t[5][high >> 16 & 0xff] ^ t[4][high >> 24 & 0xff]
                ^ t[3][high >> 32 & 0xff] ^ t[2][high >> 40 & 0xff] ^ t[1][high >> 48 & 0xff] ^ t[0][high >> 56];
        }
        for (; size; p++, size--) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xff];
        return crc;
    }
    """
    void prepare_checksums "forebay_crc_prepare" () noexcept nogil  # once, before any other
    uint32_t checksum_more "forebay_crc_more" (uint32_t crc, const uint8_t* p, size_t size) noexcept nogil

# a checksum is `checksum_more` from CHECKSUM_START over all bytes, inverted
cdef enum:
    CHECKSUM_START = 0xffffffff

/* Measures the cost of a report in libgdbm: fetch a value, change it, store it. pyzor-bench compiles and runs it as
 * rmw DATABASE KEYS SECONDS, where KEYS is a file of keys of 40 bytes, one per line. Prints the number of records
 * changed, and the seconds of elapsed time and of CPU time. */
#include <gdbm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { KEY = 40, LINE = 41, BETWEEN_CLOCKS = 1024 };

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static uint64_t random_bits(void)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void fail(const char *what)
{
    fprintf(stderr, "rmw: %s\n", what);
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("usage: rmw DATABASE KEYS SECONDS");
    GDBM_FILE database = gdbm_open(argv[1], 0, GDBM_WRITER, 0600, NULL);
    FILE *file = fopen(argv[2], "r");
    if (!database || !file || fseek(file, 0, SEEK_END))
        fail("cannot open the database or the keys");
    size_t size = ftell(file), count = size / LINE;
    char *keys = malloc(size);
    rewind(file);
    if (!keys || !count || fread(keys, 1, size, file) != size)
        fail("cannot read the keys");

    double seconds = atof(argv[3]), began = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID), elapsed;
    uint64_t changed = 0;
    do {
        for (int i = 0; i < BETWEEN_CLOCKS; i++, changed++) {
            datum key = {keys + random_bits() % count * LINE, KEY};
            datum value = gdbm_fetch(database, key);
            if (!value.dptr)
                fail("a key has no value");
            /* Changes the first digit of the count. The length stays the same, as in most reports. */
            value.dptr[2] = '0' + (value.dptr[2] - '0' + 1) % 10;
            if (gdbm_store(database, key, value, GDBM_REPLACE))
                fail("a value cannot be stored");
            free(value.dptr);
        }
        elapsed = now(CLOCK_MONOTONIC) - began;
    } while (elapsed < seconds);
    printf("%llu %.6f %.6f\n", (unsigned long long)changed, elapsed, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    gdbm_close(database);
    return 0;
}

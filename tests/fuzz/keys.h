/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates of the fuzz targets, made for them and used for nothing else. The private
 * ones stand here for all to read, so that what the fuzzer invents can be signed.
 */
#ifndef HM_FUZZ_KEYS_H
#define HM_FUZZ_KEYS_H

/* Signs the fuzzed statements; also the key of `leaf_certificate`. */
static const char ec_private_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4H3KGj/yIujw0ylY\n"
    "phckU6ptvxDlYPDySyez8feebbGhRANCAAQ8hM3Zwt12FUqdrNG+iijQ3ZCq3Kq3\n"
    "RSls3yDKvEemTcVv3AQ1NeLOmh7KVGPC5puvdehHPraB8zDnjSLm8SZ9\n"
    "-----END PRIVATE KEY-----\n";

/* Signs the fuzzed manifests. */
static const char rsa_private_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDj+1/IpJD0YHld\n"
    "eL9d1ornXQf8P2jbpfwMvJtu1txmQ+5P098ny82Y6Tu+SEl+HB+xzquz0GKx+qi9\n"
    "UOs28iYHsWf5RFYPbuEFGvXIundrLU76vc0E5VMdHiWpyIaWLFW4cOwPI9IlLspl\n"
    "lP0Q4t3irsYHh3KrxlHYW6CEyYGLey7PYIOCNRo9tU8atM9zklG1P56vcBJfzVNf\n"
    "gwXEAMxCf763rY4FGXTNlVfYSmCUVGVAcemkJx49DWkuHBl2FvnGHgwt1bhzZuPQ\n"
    "/7J/MbkTw/mceeguVc4cYolZtSQpN0z19TnrDcHlUV51ETyfU8xmv0rPwI4Rcuk5\n"
    "zRIeGWe1AgMBAAECggEABI6uxRNFwt4sgZSWGLwJm03mCLduHcPv6a5EhNRJOXHJ\n"
    "XAb+JUIYSk1RRdYVQq7bvawbYmpmQAIPfkyq4wvh/DyM5ElRghijPrz2+wFVPUso\n"
    "KBrZXsFvJlFxtcw9z9cziyQWEp29R+6Amm6+b1MQVfAh98kP9FnwIr0pfzYK/6eC\n"
    "p1Tq++HCv2cYbkfKcufJiNGIT0ilFjE3RlYfrl5cETSd+iXa09vKuTgeczw12Cqq\n"
    "Uqy7Gs1n7RavvKz1KUSWOL6dvB7SynnlenLHEbzf1jKV7IqF9Ns5uqTTexv08jNF\n"
    "gmFRVbBn+vSEcndUsCK1+TrR/KssBjNp+XptjN8iiQKBgQD6m4fY+n3/23p2RPhi\n"
    "MyCl9iRNpjKzMhXR/1N29tEAQ8GKH8FcBcwlNCeTI3j1zeFJXs5dRPt2hS3bIbXk\n"
    "mh3M2Ui8cDgS1HDAU8UjZWfV2BKqSjHcnCWtTWrPmL+1ufTWFEFJWh8ZXI4+2zQs\n"
    "lN2VfF9241HOcHhq+rDf+OCJDQKBgQDo4zXlLNoSa+aPrdiNnlLflxmpwSCCZmhC\n"
    "ATBR2ig0bXhs8wPtAmOOGE/BrGaDgIIXmO/RDQxpEzAc82XdJHQfEV+hoqNhRHva\n"
    "5KF0Liu9V7dX/gW0cV9y6+CPzXoaKsJmJQnLqlZFyGqn0csexKPBdGeiY9P7EuWV\n"
    "NjB2vXDfSQKBgB3eWaOXv1q2SvM7pyr1EwgUvSDwFQzchFNCDi2YnzJb4P5YaJBS\n"
    "NJGelLTpvmn1fsti3E+rgBkRKHT8oJQ9dh3LK+shqN09qq6RjWZ5mJWZKihXrXew\n"
    "uKDeIEPb3cWIA1FcmqdmcVxxdpaxQ5eoqnw9lZcy4rYrG38Mn/Yh0IklAoGBAMJg\n"
    "wh8iLHGrtai+hTzOpIUSbM0O8L9mEiblLxtiZqQ7qoPk4aX0lHuJNyiDaJzhqbNg\n"
    "ZumpZm5dIY9IaAEH6BP2QEd8o7kPnAC7SzbZQpCqodDDqKdO6UfWMHxWGE+22MLA\n"
    "r0haR9++w6aGqG5p2fQh4E3d3JR21UCRFipFO+xhAoGBAOU5GQA1FCY9Jk5Dn+6p\n"
    "zzELy9oB4qpclFFxAUpD3W4h8jfHoGhsU+owCr25nXEqo0SlIWMZBqKNRndatzoW\n"
    "JPmq8156ydBf1rRxxpWamjXihuLiooX4PhaMS8J0s2WZETZooJZCOLnsn3ZbOz8b\n"
    "ySyLq24+0PkiRMt1hSoci/sF\n"
    "-----END PRIVATE KEY-----\n";

/* What the policies of the targets believe. */
static const char root_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBojCCAUmgAwIBAgIUSF29i8FY59G94hgnRtEHEsZJ1MowCgYIKoZIzj0EAwIw\n"
    "HjENMAsGA1UECgwERnV6ejENMAsGA1UEAwwEcm9vdDAgFw0yMDAxMDEwMDAwMDBa\n"
    "GA8yMTIwMDEwMTAwMDAwMFowHjENMAsGA1UECgwERnV6ejENMAsGA1UEAwwEcm9v\n"
    "dDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFkpZZDlQI71IYMFP6RzGwq4eJhV\n"
    "Ow/h4othXbp9ja3NuwLL9WABF3c4V/WmtgjyWGbidAt7Z6XYBscIBZbDEmOjYzBh\n"
    "MA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFLJwxmmWy14PziUSPrOJdNCosoM3\n"
    "MB8GA1UdIwQYMBaAFLJwxmmWy14PziUSPrOJdNCosoM3MA4GA1UdDwEB/wQEAwIB\n"
    "BjAKBggqhkjOPQQDAgNHADBEAiBmDwb0e7qOZ+9vEA0JmKtdBxaZVdpacczbavgm\n"
    "peByNgIgbq5B/nJICyCQlVLQfIORtbFrKtGHiSomUbVIsLGwY+I=\n"
    "-----END CERTIFICATE-----\n";

static const char intermediate_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBqzCCAVGgAwIBAgIUCQy2Hm435ArbzafvqY99rmVLK2AwCgYIKoZIzj0EAwIw\n"
    "HjENMAsGA1UECgwERnV6ejENMAsGA1UEAwwEcm9vdDAgFw0yMDAxMDEwMDAwMDBa\n"
    "GA8yMTIwMDEwMTAwMDAwMFowJjENMAsGA1UECgwERnV6ejEVMBMGA1UEAwwMaW50\n"
    "ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdz5x+eeZ/M2chi8t\n"
    "cYqKzvsYNkX6Toeh9gLpQdSUCf/FfetcYlNdGgISAePswZ0JhXlejA1tN3/G81OJ\n"
    "+0a3aaNjMGEwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUzqtqoWa0BJOhCJW9\n"
    "Z5QMluWcpCAwHwYDVR0jBBgwFoAUsnDGaZbLXg/OJRI+s4l00KiygzcwDgYDVR0P\n"
    "AQH/BAQDAgEGMAoGCCqGSM49BAMCA0gAMEUCIQCdA3uMgFF6IFO79WvC8qGhzT2w\n"
    "SKKcPbVJaqZJv5vXtQIgUwnj3nA+ytjnsiiRxCh8zFTorNgmvAfGipuiFy/0yDc=\n"
    "-----END CERTIFICATE-----\n";

static const char leaf_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIICATCCAaigAwIBAgIUdL+aBFfKtwDCDmVxoOYGvGzfzgwwCgYIKoZIzj0EAwIw\n"
    "JjENMAsGA1UECgwERnV6ejEVMBMGA1UEAwwMaW50ZXJtZWRpYXRlMCAXDTIwMDEw\n"
    "MTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAeMQ0wCwYDVQQKDARGdXp6MQ0wCwYD\n"
    "VQQDDARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPITN2cLddhVKnazR\n"
    "vooo0N2Qqtyqt0UpbN8gyrxHpk3Fb9wENTXizpoeylRjwuabr3XoRz62gfMw540i\n"
    "5vEmfaOBuTCBtjAMBgNVHRMBAf8EAjAAMB0GA1UdDgQWBBT52KqnR948yBrUNFhG\n"
    "+zYk4HAa6DAfBgNVHSMEGDAWgBTOq2qhZrQEk6EIlb1nlAyW5ZykIDAOBgNVHQ8B\n"
    "Af8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwMwQQYDVR0RBDowOIEOY2lAZXhh\n"
    "bXBsZS5vcmeCDmNpLmV4YW1wbGUub3JnhhZodHRwczovL2V4YW1wbGUub3JnL2Np\n"
    "MAoGCCqGSM49BAMCA0cAMEQCIGlbhRglkGWpEyzHRS5o9+Pws0eq1DuXaI1Xh0Ev\n"
    "7ZInAiBA7IKhQGFW36Y7T3vgm5HTnIGASsfC3MR/Nim4+rd1UQ==\n"
    "-----END CERTIFICATE-----\n";

#endif

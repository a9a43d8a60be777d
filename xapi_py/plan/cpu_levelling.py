"""What the processors of all hosts of a pool have in common."""

from collections.abc import Mapping


def pool_cpu_info(hosts: list[Mapping[str, str]], profile: str) -> dict[str, str]:
    """Give pool.cpu_info: sums of counts and what every host's processors can do."""
    if not hosts:
        return {}
    first = hosts[0]
    info = {
        "vendor": first.get("vendor", ""),
        "socket_count": str(sum(int(h.get("socket_count", "1")) for h in hosts)),
        "cpu_count": str(sum(int(h.get("cpu_count", "1")) for h in hosts)),
        "features_pv": common_features([h.get("features_pv", "") for h in hosts]),
        "features_hvm": common_features([h.get("features_hvm", "") for h in hosts]),
    }
    if profile != "7.1":
        info["features_pv_host"] = info["features_pv"]
        info["features_hvm_host"] = info["features_hvm"]
    return info


def common_features(feature_sets: list[str]) -> str:
    """Intersect feature sets: 32 bit words in hexadecimal, joined by dashes."""
    split = [[int(w, 16) for w in text.split("-") if w] for text in feature_sets]
    length = min((len(words) for words in split), default=0)
    common = []
    for position in range(length):
        word = 0xFFFFFFFF
        for words in split:
            word &= words[position]
        common.append(f"{word:08x}")
    return "-".join(common)

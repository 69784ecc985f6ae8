#include <algorithm>
#include <cmath>
#include <set>

#include "formats/file.h"
#include "formats/json.h"
#include "reducenet/engines.h"
#include "reducenet/formats.h"

namespace reducenet {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "reducenet.costs";
constexpr int kVersion = 1;
constexpr size_t kLargestFile = size_t{64} << 20;

CostTable parse(const nlohmann::json& json) {
  const auto malformed = [](const std::string& what) -> void { throw Error(ErrorKind::bad_input, what); };
  if (!json.is_object() || json.value("schema", "") != kSchema)
    malformed("no table of costs: schema is not " + std::string(kSchema));
  const int version = json.at("version").get<int>();
  if (version > kVersion) malformed("version " + std::to_string(version) + " is newer than this program's 1");
  if (json.value("unit", "ms") != "ms") malformed("the unit is not ms");
  CostTable table{json.value("engine", ""), json.value("device", ""), json.value("threads", 1), {}};
  for (const auto& row : json.at("entries")) {
    CostTable::Entry entry{row.at("op").get<std::string>(), row.at("macs").get<int64_t>(),
                           row.at("elements").get<int64_t>(), 0, row.value("timed", true)};
    const std::string workload = row.at("workload").get<std::string>();
    if (entry.timed) entry.ms = row.at("ms").get<double>();
    if (!(entry.ms >= 0) || !std::isfinite(entry.ms) || entry.macs < 0 || entry.elements < 0) {
      malformed("the entry of '" + workload + "' is negative or not finite");
    }
    table.entries[workload] = entry;
  }
  return table;
}

/// What the work of an op is measured by where the table lacks it.
int64_t work_of(const CostTable::Entry& entry) {
  return entry.macs > 0 ? entry.macs : entry.elements;
}

/// Between the neighbours by work, linearly; in proportion below the smallest and beyond the largest.
double interpolate(const std::vector<CostTable::Entry>& sorted, int64_t work) {
  const auto above = std::lower_bound(sorted.begin(), sorted.end(), work,
                                      [](const CostTable::Entry& entry, int64_t w) { return work_of(entry) < w; });
  const auto scaled = [&](const CostTable::Entry& entry) {
    return entry.ms * static_cast<double>(work) / static_cast<double>(std::max<int64_t>(work_of(entry), 1));
  };
  if (above == sorted.end()) return scaled(sorted.back());
  if (above == sorted.begin()) return scaled(*above);
  const CostTable::Entry &low = *std::prev(above), &high = *above;
  const double share = static_cast<double>(work - work_of(low)) / static_cast<double>(work_of(high) - work_of(low));
  return low.ms + share * (high.ms - low.ms);
}

/// A table ready for look-ups.
struct Lookup {
  CostTable table;
  std::function<void(const std::string&)> note;
  std::map<std::string, std::vector<CostTable::Entry>> by_op;  // sorted by work
  std::set<std::string> noted;

  double operator()(const Workload& workload) {
    const std::string key = key_of(workload);
    if (const auto found = table.entries.find(key); found != table.entries.end()) return found->second.ms;
    const std::string op = name_of(workload.op);
    const auto rows = by_op.find(op);
    const bool fresh = noted.insert(key).second;
    if (rows == by_op.end()) {
      if (fresh && noted.insert(op).second) note("the table of costs has no " + op + ": it counts as 0");
      return 0;
    }
    const CostTable::Entry wanted{op, count_macs(workload), element_count(workload.output), 0, true};
    const double ms = interpolate(rows->second, work_of(wanted));
    if (fresh) note("not in the table of costs, interpolated to " + std::to_string(ms) + " ms: " + key);
    return ms;
  }
};

}  // namespace

CostTable load_costs(const std::filesystem::path& path) {
  return naming_json(path.string(), [&] {
    const MappedFile file = map_file(path);
    if (file.bytes.size() > kLargestFile) throw Error(ErrorKind::bad_input, "a table of costs of over 64 MiB");
    return parse(parse_json({reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()}));
  });
}

void save_costs(const CostTable& table, const std::filesystem::path& path) {
  Json json{{"schema", kSchema},        {"version", kVersion}, {"engine", table.engine},  {"device", table.device},
            {"threads", table.threads}, {"unit", "ms"},        {"entries", Json::array()}};
  for (const auto& [workload, entry] : table.entries) {
    Json row{{"op", entry.op}, {"workload", workload}, {"macs", entry.macs}, {"elements", entry.elements}};
    if (entry.timed) {
      row["ms"] = entry.ms;
    } else {
      row["timed"] = false;
    }
    json["entries"].push_back(std::move(row));
  }
  const std::string text = json.dump(1) + "\n";
  write_atomically(path, std::as_bytes(std::span(text)));
}

Cost table_cost(CostTable table, std::function<void(const std::string&)> note) {
  auto lookup = std::make_shared<Lookup>(Lookup{std::move(table), std::move(note), {}, {}});
  for (const auto& [key, entry] : lookup->table.entries) {
    if (entry.timed) lookup->by_op[entry.op].push_back(entry);
  }
  for (auto& [op, rows] : lookup->by_op) {
    std::ranges::sort(rows, {}, work_of);
    const auto same = [](const CostTable::Entry& a, const CostTable::Entry& b) { return work_of(a) == work_of(b); };
    rows.erase(std::unique(rows.begin(), rows.end(), same), rows.end());
  }
  return [lookup](const Workload& workload) { return (*lookup)(workload); };
}

}  // namespace reducenet

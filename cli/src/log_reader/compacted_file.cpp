#include "log_reader/compacted_file.hpp"

namespace ferry::log_reader {

bool read_compacted_header(InputFile&, const FileName& name, Segment& out, Report& report) {
    report.findings.push_back({Severity::note, out.file, 0, name.position, 0,
                               "compacted segments are not read by this version"});
    return false;
}

}  // namespace ferry::log_reader

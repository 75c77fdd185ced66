// HCDecode: coarse [B,C,h,w], assignment [B,9,H,W] -> [B,C,H,W].
#include "op.h"

namespace {

void expect(const hc::Shape* in, hc::Shape* expected) {
    const auto& assignment = in[1].size;
    expected[0] = hc::map(assignment[0], hc::kUnknown, hc::coarse(assignment[2]), hc::coarse(assignment[3]));
    expected[1] = hc::map(hc::kUnknown, 9, hc::kUnknown, hc::kUnknown);
}

int launch(const hc::Launch& l) {
    return hc_decode(l.inputs[0], l.inputs[1], l.output, l.type, l.size(0, 0), l.size(0, 1), l.size(1, 2), l.size(1, 3),
                     l.stream);
}

}  // namespace

const hc::Op hc::kDecode = {
    "HCDecode",
    2,
    {"coarse", "assignment"},
    /*has_attributes=*/false,
    /*gives_labels=*/false,
    kMapRank,
    {{0, 0}, {0, 1}, {1, 2}, {1, 3}},
    kMaxClusterHeight,
    expect,
    launch,
};

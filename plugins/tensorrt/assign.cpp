// HCAssign: features [B,K,H,W], seeds [B,K,h,w] -> assignment [B,9,H,W].
#include "op.h"

namespace {

void expect(const hc::Shape* in, hc::Shape* expected) {
    const auto& features = in[0].size;
    expected[0] = hc::map(hc::kUnknown, hc::kUnknown, hc::kUnknown, hc::kUnknown);
    expected[1] = hc::map(features[0], features[1], hc::coarse(features[2]), hc::coarse(features[3]));
}

int launch(const hc::Launch& l) {
    return hc_assign(l.inputs[0], l.inputs[1], l.output, l.type, l.size(0, 0), l.size(0, 1), l.size(0, 2), l.size(0, 3),
                     l.options, l.stream);
}

}  // namespace

const hc::Op hc::kAssign = {
    "HCAssign",
    2,
    {"features", "seeds"},
    /*has_attributes=*/true,
    /*gives_labels=*/false,
    kMapRank,
    {{0, 0}, {kConstant, 9}, {0, 2}, {0, 3}},
    kMaxClusterHeight,
    expect,
    launch,
};

// HCUpsample: coarse [B,C,h,w], features [B,K,H,W], seeds [B,K,h,w] -> [B,C,H,W], the assignment never written.
#include "op.h"

namespace {

void expect(const hc::Shape* in, hc::Shape* expected) {
    const auto& features = in[1].size;
    const int64_t h = hc::coarse(features[2]), w = hc::coarse(features[3]);
    expected[0] = hc::map(features[0], hc::kUnknown, h, w);
    expected[1] = hc::map(hc::kUnknown, hc::kUnknown, hc::kUnknown, hc::kUnknown);
    expected[2] = hc::map(features[0], features[1], h, w);
}

int launch(const hc::Launch& l) {
    return hc_upsample(l.inputs[0], l.inputs[1], l.inputs[2], l.output, l.type, l.size(0, 0), l.size(0, 1),
                       l.size(1, 1), l.size(1, 2), l.size(1, 3), l.options, l.stream);
}

}  // namespace

const hc::Op hc::kUpsample = {
    "HCUpsample",
    3,
    {"coarse", "features", "seeds"},
    /*has_attributes=*/true,
    /*gives_labels=*/false,
    kMapRank,
    {{0, 0}, {0, 1}, {1, 2}, {1, 3}},
    kMaxClusterHeight,
    expect,
    launch,
};

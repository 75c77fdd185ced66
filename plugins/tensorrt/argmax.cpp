// HCArgmax: logits [B,C,h,w], like [B,*,H,W] (only its shape is read) -> labels int32 [B,H,W].
#include "op.h"

namespace {

void expect(const hc::Shape* in, hc::Shape* expected) {
    expected[0] = hc::map(in[1].size[0], hc::kUnknown, hc::kUnknown, hc::kUnknown);
    expected[1] = hc::map(hc::kUnknown, hc::kUnknown, hc::kUnknown, hc::kUnknown);
}

int launch(const hc::Launch& l) {
    return hc_argmax(l.inputs[0], static_cast<int*>(l.output), l.type, l.size(0, 0), l.size(0, 1), l.size(0, 2),
                     l.size(0, 3), l.size(1, 2), l.size(1, 3), l.stream);
}

}  // namespace

const hc::Op hc::kArgmax = {
    "HCArgmax",
    2,
    {"logits", "like"},
    /*has_attributes=*/false,
    /*gives_labels=*/true,
    3,
    {{0, 0}, {1, 2}, {1, 3}},
    kMaxLabelHeight,
    expect,
    launch,
};

#include "attributes.h"

#include <cstring>
#include <string_view>

#include "../kernels/launch.h"
#include "log.h"

namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

// A string attribute and its two values, in the order of hc_cluster_options' 0 and 1.
struct Choice {
    const char* name;
    const char* values[2];
    int hc_cluster_options::* option;
};
constexpr Choice kChoices[] = {
    {"similarity", {"cosine", "dot"}, &hc_cluster_options::dot},
    {"border", {"zero", "exclude"}, &hc_cluster_options::exclude},
    {"assignment", {"soft", "hard"}, &hc_cluster_options::hard},
};

const char* name_of(PluginFieldType type) {
    static constexpr const char* kNames[] = {"FLOAT16", "FLOAT32", "FLOAT64", "INT8",  "INT16", "INT32", "CHAR",
                                             "DIMS",    "UNKNOWN", "BF16",    "INT64", "FP8",   "INT4",  "FP4"};
    const auto index = static_cast<size_t>(type);
    return index < sizeof kNames / sizeof *kNames ? kNames[index] : "of an unknown type";
}

bool read_tau(float& tau, const PluginField& field, const char* op, const char* node) {
    if (field.type != PluginFieldType::kFLOAT32 || field.length != 1 || !field.data) {
        hc::log_error("%s \"%s\": tau is a field of %d x %s, expected 1 x FLOAT32", op, node, field.length,
                      name_of(field.type));
        return false;
    }
    std::memcpy(&tau, field.data, sizeof tau);
    if (tau >= HC_LEAST_TAU && tau <= HC_MOST_TAU) return true;
    hc::log_error("%s \"%s\": tau is %g, expected a number from %g to %g", op, node, static_cast<double>(tau),
                  static_cast<double>(HC_LEAST_TAU), static_cast<double>(HC_MOST_TAU));
    return false;
}

// The string is `length` characters, or one less and the NUL that ends it: TensorRT's parser counts the NUL, our own
// `write` does not.
bool read_choice(int& option, const Choice& choice, const PluginField& field, const char* op, const char* node) {
    if (field.type != PluginFieldType::kCHAR || field.length < 0 || (field.length && !field.data)) {
        hc::log_error("%s \"%s\": %s is a field of %d x %s, expected the characters of %s or %s", op, node, choice.name,
                      field.length, name_of(field.type), choice.values[0], choice.values[1]);
        return false;
    }
    const char* text = static_cast<const char*>(field.data);
    const int length = field.length && !text[field.length - 1] ? field.length - 1 : field.length;
    for (int i = 0; i < 2; ++i) {
        if (std::string_view(text, length) != choice.values[i]) continue;
        option = i;
        return true;
    }
    hc::log_error("%s \"%s\": %s is \"%.*s\" (%d characters), expected %s or %s", op, node, choice.name,
                  length > 80 ? 80 : length, length ? text : "", length, choice.values[0], choice.values[1]);
    return false;
}

bool read_field(hc_cluster_options& options, const PluginField& field, const char* op, const char* node) {
    if (field.name && std::strcmp(field.name, "tau") == 0) return read_tau(options.tau, field, op, node);
    for (const Choice& choice : kChoices)
        if (field.name && std::strcmp(field.name, choice.name) == 0)
            return read_choice(options.*choice.option, choice, field, op, node);
    hc::log_error("%s \"%s\": attribute %s, expected none but tau, similarity, border, assignment", op, node,
                  field.name ? field.name : "without a name");
    return false;
}

}  // namespace

bool hc::ClusterAttributes::read(const nvinfer1::PluginFieldCollection* fields, const char* op,
                                 const char* node) noexcept {
    for (int i = 0; fields && i < fields->nbFields; ++i)
        if (!read_field(options, fields->fields[i], op, node)) return false;
    return true;
}

void hc::ClusterAttributes::write(PluginField (&fields)[kClusterFields]) const noexcept {
    fields[0] = PluginField("tau", &options.tau, PluginFieldType::kFLOAT32, 1);
    for (int i = 0; i < 3; ++i) {
        const char* value = kChoices[i].values[options.*kChoices[i].option];
        fields[i + 1] = PluginField(kChoices[i].name, value, PluginFieldType::kCHAR, std::strlen(value));
    }
}
